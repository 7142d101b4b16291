//! The system packages that building, testing and running need.

use crate::cargo;
use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};

/// Installs what is missing if this is Debian and we are root; else says what is missing and goes on: the build names
/// what it cannot do without.
pub(crate) fn provide() -> io::Result<()> {
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(name, _)| !is_installed(name))
        .collect();
    if missing.is_empty() || !answers("apt-get", ["--version"]) {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    for (name, why) in missing {
        eprintln!("xtask: the package {name} is missing: {why}");
    }
    if !is_root()? {
        eprintln!(
            "xtask: to install them: sudo apt-get install {}",
            names.join(" ")
        );
        return Ok(());
    }
    let mut update = apt_get();
    let mut install = apt_get();
    update.arg("update");
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&names);
    // Old lists often do: a failing update alone is no reason to stop.
    let _updated = cargo::run(&mut update)?;
    if !cargo::run(&mut install)? {
        eprintln!("xtask: apt-get failed, going on without these packages");
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn is_root() -> io::Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout.trim_ascii() == b"0")
}

fn answers<const N: usize>(program: &str, arguments: [impl AsRef<OsStr>; N]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Each with what needs it. The compilers bring the development files of their own versions (`libstdc++-12-dev` on
/// Debian 12), whatever those are called there.
const PACKAGES: [(&str, &str); 13] = [
    (
        "gcc",
        "links every program, and compiles the C programs of the tests",
    ),
    (
        "g++",
        "its static libstdc++ is linked with the SPIR-V validator",
    ),
    (
        "spirv-tools",
        "libSPIRV-Tools.a, the SPIR-V validator that the engine is linked with",
    ),
    ("libvulkan1", "the Vulkan loader, opened by the engine"),
    (
        "mesa-vulkan-drivers",
        "the software device lavapipe, for machines without a GPU and for the tests",
    ),
    ("glslang-tools", "compiles shaders/*.comp again"),
    (
        "pkg-config",
        "tells the C programs of the tests where libvkmps is",
    ),
    (
        "systemd",
        "process 1 of the machines that the packages are tested on",
    ),
    (
        "dbus",
        "the private bus that the daemon is tested on, and the system bus of those machines",
    ),
    ("polkitd", "authorises on those machines"),
    (
        "util-linux",
        "unshare, nsenter and setpriv start those machines and what runs in them",
    ),
    ("debhelper", "makes the Debian packages"),
    ("lintian", "checks them"),
];
