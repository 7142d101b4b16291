//! `vkmps-bench`: every scenario of vkmps beside its peers in one run, and the worker processes of the demo.
//!
//! The process that a user starts never opens a device. It starts a private `vkmpsd` and, for every arm, fresh copies
//! of itself (`worker`), all with the same environment, and puts the arms' rounds in turn: A, B, C, A, B, C.
#![forbid(unsafe_code)]

mod alloc;
mod arguments;
mod backend;
mod bandwidth;
mod bench;
mod caps;
mod chain;
mod chance;
mod clock;
mod crew;
mod demo;
mod error;
mod fairness;
mod figures;
mod idle;
mod isolation;
mod latency;
mod priority;
mod private_daemon;
mod process;
mod progress;
mod report;
mod rounds;
mod scale;
mod shader;
mod size;
mod startup;
mod throughput;
mod worker;

use arguments::{Arguments, Command};
use clap::Parser;
use error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vkmps-bench: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Throughput(options) => throughput::run(&options),
        Command::Latency(options) => latency::run(&options),
        Command::Bandwidth(options) => bandwidth::run(&options),
        Command::Startup(options) => startup::run(&options),
        Command::Idle(options) => idle::run(&options),
        Command::Priority(options) => priority::run(&options),
        Command::Fairness(options) => fairness::run(&options),
        Command::Caps(options) => caps::run(&options),
        Command::Alloc(options) => alloc::run(&options),
        Command::Isolation(options) => isolation::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Worker { task } => worker::run(&task),
    }
}
