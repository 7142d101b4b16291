//! Cargo, called the way this workspace needs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Builds what the profile's users need into one folder: to try and to measure the programs and the C library, to test everything.
/// False if that failed.
///
/// `vkmpsd` is linked alone, as a static-pie; the others must not be, since a process that loads a Vulkan driver
/// cannot be static.
pub(crate) fn build(profile: Profile) -> io::Result<bool> {
    let (others, daemon): (&[&str], &[&str]) = match profile {
        Profile::Debug => (
            &["--workspace", "--exclude", "vkmpsd", "--exclude", "xtask"],
            &[],
        ),
        Profile::Release => (
            &[
                "--release",
                "--package",
                "vkmps-engine",
                "--package",
                "vkmps-bench",
                "--package",
                "vkmps-ctl",
                "--package",
                "vkmps-capi",
                "--package",
                "vkmps-ctl",
            ],
            &["--release"],
        ),
    };
    let mut daemon_command = command(["rustc", "--package", "vkmpsd", "--bin", "vkmpsd"]);
    daemon_command
        .args(daemon)
        .args(["--", "-C", "target-feature=+crt-static"]);
    Ok(run(command(["build"]).args(others))? && run(&mut daemon_command)?)
}

/// A cargo command at the workspace's root, by the cargo that started us.
pub(crate) fn command<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    cargo
}

/// One of the built programs.
pub(crate) fn program(profile: Profile, name: &str, arguments: &[String]) -> io::Result<Command> {
    let mut command = Command::new(folder(profile)?.join(name));
    command.args(arguments);
    Ok(command)
}

/// Where a profile's outputs lie.
pub(crate) fn folder(profile: Profile) -> io::Result<PathBuf> {
    Ok(target()?.join(match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    }))
}

/// Whether it ran and succeeded.
pub(crate) fn run(command: &mut Command) -> io::Result<bool> {
    let status = command.status().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        io::Error::new(
            error.kind(),
            format!("{program} cannot be started: {error}"),
        )
    })?;
    Ok(status.success())
}

/// The folder of build outputs: this program lies in one of its folders.
fn target() -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    let target = own.parent().and_then(Path::parent).map(Path::to_owned);
    target.ok_or_else(|| io::Error::other("this program does not lie in a target folder"))
}

/// The workspace's root: this crate is `src/xtask` of it.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
