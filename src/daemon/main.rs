//! `vkmpsd`: the daemon that many clients share one Vulkan device through.
#![forbid(unsafe_code)]

mod client_link;
mod compilers;
mod config;
#[expect(dead_code, reason = "the D-Bus side and the main loop meet here")]
mod control;
mod foreign;
mod happening;
mod journal;
mod ledger;
mod module;
mod process;
mod resources;
mod server;
mod sockets;
mod standalone;
mod startup;
mod supervisor;
mod watched;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = config::Options::parse();
    match startup::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// One line with all causes.
fn report(error: &dyn std::error::Error) {
    let mut line = format!("vkmpsd: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    eprintln!("{line}");
}
