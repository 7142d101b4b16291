//! Machines of namespaces: a real systemd as process 1 over an overlay of `/`.

mod cgroup;
mod machine;
mod overlay;
mod root;
mod stages;
mod world;

pub(crate) use machine::{Layer, Machine};
pub(crate) use root::STAGING;
pub(crate) use stages::stage;
pub(crate) use world::World;

use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// A machine cannot be had, or not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// This system is not able to do it; no fault of ours.
    #[error("{0}")]
    Unable(String),
    /// A file cannot be made, read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file system cannot be mounted.
    #[error("cannot mount at {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// Any other system call.
    #[error("{call}")]
    System {
        /// Which.
        call: &'static str,
        /// Why.
        source: Errno,
    },
    /// It ended, or systemd never said that it is up.
    #[error("the machine did not boot; its console says:\n{console}")]
    NotBooted {
        /// What it wrote.
        console: String,
    },
}

/// For `map_err`: what happened to a file.
fn at(path: &Path) -> impl FnOnce(std::io::Error) -> BootError {
    let path = path.to_owned();
    |source| BootError::File { path, source }
}

/// For `map_err`: a call that failed.
fn failed(call: &'static str) -> impl FnOnce(Errno) -> BootError {
    move |source| BootError::System { call, source }
}
