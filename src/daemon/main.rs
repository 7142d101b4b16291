//! `vkmpsd`: the daemon that many clients share one Vulkan device through.
#![forbid(unsafe_code)]

mod administration;
mod announcement;
mod bus;
mod causes;
mod client_link;
mod compilers;
mod config;
mod control;
mod doors;
mod exit;
mod foreign;
mod happening;
mod journal;
mod ledger;
mod limits;
mod liveness;
mod module;
mod process;
mod recorder;
mod resources;
mod sandbox_check;
mod server;
mod sessions;
mod sockets;
mod standalone;
mod startup;
mod statistics;
mod supervisor;
mod watchdog;
mod watched;

use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = config::Options::parse();
    let config = match config::load(&options) {
        Ok(_) if options.check_config => {
            println!("ok");
            return Exit::Success.into();
        }
        Ok(config) => config,
        Err(error) => return report(&error, Exit::Config),
    };
    let result = match options.check_sandbox {
        true => sandbox_check::run(&options, &config),
        false => startup::run(options, config),
    };
    match result {
        Ok(()) => Exit::Success.into(),
        Err(error) => report(&error, error.exit()),
    }
}

fn report(error: &dyn std::error::Error, exit: Exit) -> ExitCode {
    eprintln!("vkmpsd: {}", causes::line(error));
    exit.into()
}
