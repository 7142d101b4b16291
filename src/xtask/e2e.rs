//! `cargo xtask e2e [FILTER]`: the packages on a booted systemd, checked by `vkmps-e2e`.

use crate::cargo::{self, Profile};
use crate::deb;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// Builds what it takes and runs the checks; true if none failed.
pub(crate) fn run(arguments: &[String]) -> io::Result<bool> {
    let build = ["build", "--package", "vkmps-tests", "--bins"];
    if !cargo::run(&mut cargo::command(build))? {
        return Ok(false);
    }
    cargo::run(&mut command(&deb::build()?, arguments)?)
}

/// The program that checks these packages. It and the client that it runs are built.
pub(crate) fn command(packages: &[PathBuf], arguments: &[String]) -> io::Result<Command> {
    let folder = packages.first().and_then(|package| package.parent());
    let folder = folder.ok_or_else(|| io::Error::other("there are no packages"))?;
    let mut command = cargo::program(Profile::Debug, "vkmps-e2e", arguments)?;
    command.arg("--packages").arg(folder);
    Ok(command)
}
