//! `cargo xtask e2e [FILTER]`: the packages on a booted systemd, checked by `vkmps-e2e`.

use crate::cargo::{self, Profile};
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds what it takes and runs the checks; true if none failed.
pub(crate) fn run(arguments: &[String]) -> io::Result<bool> {
    let build = ["build", "--package", "vkmps-tests", "--bins"];
    if !cargo::run(&mut cargo::command(build))? {
        return Ok(false);
    }
    cargo::run(&mut command(&packages()?, arguments)?)
}

/// The program that checks the packages in this folder. It and the client that it runs are built.
pub(crate) fn command(packages: &Path, arguments: &[String]) -> io::Result<Command> {
    let mut command = cargo::program(Profile::Debug, "vkmps-e2e", arguments)?;
    command.arg("--packages").arg(packages);
    Ok(command)
}

/// The folder of the packages to check.
fn packages() -> io::Result<PathBuf> {
    let folder = env::var_os("VKMPS_DEBS").map(PathBuf::from);
    folder.ok_or_else(|| io::Error::other("VKMPS_DEBS does not name a folder of packages"))
}
