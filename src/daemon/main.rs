//! `vkmpsd`: the daemon that many clients share one Vulkan device through.
#![forbid(unsafe_code)]

#[expect(dead_code, reason = "the main loop starts it")]
mod bus;
mod client_link;
mod compilers;
mod config;
#[expect(dead_code, reason = "the D-Bus side and the main loop meet here")]
mod control;
mod exit;
mod foreign;
mod happening;
#[expect(dead_code, reason = "the main loop will reload and deny")]
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
    match startup::run(&options, &config) {
        Ok(()) => Exit::Success.into(),
        Err(error) => report(&error, error.exit()),
    }
}

/// One line with all causes.
fn report(error: &dyn std::error::Error, exit: Exit) -> ExitCode {
    let mut line = format!("vkmpsd: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    eprintln!("{line}");
    exit.into()
}
