//! `cargo xtask demo`, `test`, `e2e`, `bench`, `install`, `deb`: everything a fresh Debian machine needs to try, check,
//! measure and package vkmps.
//!
//! No dependencies, so that the first thing a stranger sees is not a long compilation.
#![forbid(unsafe_code)]

mod cargo;
mod checks;
mod deb;
mod e2e;
mod install;
mod packages;

use cargo::Profile;
use std::env;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let verb = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome = match verb.as_deref() {
        Some("demo") => {
            packages::provide().and_then(|()| bench(&[vec!["demo".to_owned()], rest].concat()))
        }
        Some("bench") => packages::provide().and_then(|()| bench(&rest)),
        Some("install") if rest.len() == 1 => packages::provide()
            .and_then(|()| Ok(cargo::build(Profile::Release)? && install::install(&rest[0])?)),
        Some("e2e") => packages::provide().and_then(|()| e2e::run(&rest)),
        Some("deb") if rest.is_empty() => packages::provide().and_then(|()| deb::run()),
        Some("test") => packages::provide().and_then(|()| checks::run()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds what is needed in release and runs `vkmps-bench`.
fn bench(arguments: &[String]) -> io::Result<bool> {
    if !cargo::build(Profile::Release)? {
        return Ok(false);
    }
    cargo::run(&mut cargo::program(
        Profile::Release,
        "vkmps-bench",
        arguments,
    )?)
}

const USAGE: &str = "\
usage: cargo xtask demo [IMAGE.png] [--clients N] [--device IDX] [-o DIR]
       cargo xtask bench SCENARIO [--clients N] [--depth D] [--device IDX] [--seconds S] [--json]
       cargo xtask install PREFIX
       cargo xtask deb
       cargo xtask test
       cargo xtask e2e [FILTER | --list | --shell]";
