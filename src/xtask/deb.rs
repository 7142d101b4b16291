//! `cargo xtask deb`: the Debian packages, in `target/debian`.
//!
//! Cargo builds in the checkout, so that nothing is compiled twice; dpkg-buildpackage, which writes beside its source,
//! gets a copy of the checkout. `VKMPS_DEB_PROFILE=dev` packages an unoptimised build, in `target/debian/dev`.

use crate::cargo::{self, Profile};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Builds the packages, shows what lintian says of them, and prints where they are. True if lintian finds nothing.
pub(crate) fn run() -> io::Result<bool> {
    let packages = build()?;
    let silent = lintian(&packages)?;
    for package in packages {
        println!("{}", package.display());
    }
    Ok(silent)
}

/// The packages, built if something is newer than they are. Several processes may do this at once.
pub(crate) fn build() -> io::Result<Vec<PathBuf>> {
    let profile = profile()?;
    if !cargo::build(profile)? {
        return Err(io::Error::other("the programs cannot be built"));
    }
    let built = cargo::folder(profile)?;
    let root = cargo::folder(profile)?.with_file_name("debian");
    let folder = match profile {
        Profile::Debug => root.join("dev"),
        Profile::Release => root,
    };
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let files = files()?;
    let mut inputs: Vec<PathBuf> = files.iter().map(|file| cargo::root().join(file)).collect();
    inputs.extend(PROGRAMS.map(|name| built.join(name)));
    let there = packages(&folder)?;
    if there.len() == PACKAGES && newest(&inputs)? < oldest(&there)? {
        return Ok(there);
    }
    for package in there {
        fs::remove_file(package)?;
    }
    let work = folder.join("work");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let source = work.join("source");
    for file in files {
        copy(&cargo::root().join(&file), &source.join(&file))?;
    }
    let mut build = Command::new("dpkg-buildpackage");
    build
        .args(["--no-sign", "--build=binary"])
        .current_dir(&source)
        // What takes long and nobody reads here: debug symbols as packages of their own.
        .env("DEB_BUILD_OPTIONS", "nocheck noautodbgsym")
        .env("VKMPS_DEB_BUILT", fs::canonicalize(&built)?);
    if !cargo::run(&mut build)? {
        return Err(io::Error::other("dpkg-buildpackage failed"));
    }
    // Whoever looks sees whole packages only.
    for package in packages(&work)? {
        fs::rename(
            &package,
            folder.join(package.file_name().unwrap_or_default()),
        )?;
    }
    fs::remove_dir_all(&work)?;
    packages(&folder)
}

/// Whether lintian has nothing to say, or is not there.
fn lintian(packages: &[PathBuf]) -> io::Result<bool> {
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--allow-root", "--info", "--fail-on", "error,warning"])
        .args(packages);
    match lintian.status() {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("xtask: lintian is not installed, the packages are not checked");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn profile() -> io::Result<Profile> {
    match env::var("VKMPS_DEB_PROFILE").as_deref() {
        Err(_) | Ok("release") => Ok(Profile::Release),
        Ok("dev") => Ok(Profile::Debug),
        Ok(other) => Err(io::Error::other(format!(
            "VKMPS_DEB_PROFILE is {other}; it can be dev or release"
        ))),
    }
}

/// What packaging reads of the checkout, relative to it: its files but the code, which is built already.
fn files() -> io::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
        ])
        .args(PACKAGED)
        .current_dir(cargo::root())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            "git does not list the files; packages are made from a checkout",
        ));
    }
    let names = output.stdout.split(|byte| *byte == 0);
    let files = names
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(OsStr::from_bytes(name)));
    // git lists deleted files until the deletion is committed.
    Ok(files
        .filter(|file| cargo::root().join(file).symlink_metadata().is_ok())
        .collect())
}

/// A symbolic link stays one.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    if from.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else {
        fs::copy(from, to).map(drop)
    }
}

/// The packages in a folder, by name.
fn packages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("deb")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn newest(files: &[PathBuf]) -> io::Result<Option<SystemTime>> {
    Ok(times(files)?.into_iter().max())
}

fn oldest(files: &[PathBuf]) -> io::Result<Option<SystemTime>> {
    Ok(times(files)?.into_iter().min())
}

fn times(files: &[PathBuf]) -> io::Result<Vec<SystemTime>> {
    files
        .iter()
        .map(|file| fs::symlink_metadata(file)?.modified())
        .collect()
}

/// vkmpsd, libvkmps1, libvkmps-dev.
const PACKAGES: usize = 3;
const PACKAGED: [&str; 9] = [
    "LICENSE-*",
    "README.md",
    "dbus",
    "debian",
    "polkit",
    "shaders",
    "src/capi",
    "systemd",
    "tests/c",
];
const PROGRAMS: [&str; 5] = [
    "libvkmps_c.so",
    "vkmps-control",
    "vkmps-engine",
    "vkmpsctl",
    "vkmpsd",
];
