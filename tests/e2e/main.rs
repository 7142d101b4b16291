//! `vkmps-e2e`: installs the packages on a really booted systemd and checks what an administrator relies on.
//!
//! Every check gets a machine of its own: namespaces over an overlay of `/`, in which systemd is process 1. Nothing of
//! this machine is written. Run it as `cargo xtask e2e`, which builds the packages first.
#![forbid(unsafe_code)]

mod arguments;
mod boot;
mod checks;
mod guest;
mod runner;

use arguments::Verb;
use std::process::ExitCode;

fn main() -> ExitCode {
    match arguments::parse(std::env::args().skip(1)) {
        Ok(Verb::Stage(stage)) => boot::stage(&stage),
        Ok(Verb::List) => {
            for check in checks::all() {
                println!("{}: test", check.name);
            }
            ExitCode::SUCCESS
        }
        Ok(Verb::Run(plan)) => runner::run(&plan),
        Err(usage) => {
            eprintln!("{usage}");
            ExitCode::from(2)
        }
    }
}
