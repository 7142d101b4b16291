//! What ends a run, by what failed.

use crate::backend::Rank;
use std::io;
use std::path::PathBuf;

/// Why a scenario could not be measured, or a result was wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("Vulkan in this process failed")]
    Gpu(#[from] vkmps_gpu::Error),
    #[error("the daemon's client failed")]
    Client(#[from] vkmps::Error),
    #[error("{0}")]
    Io(&'static str, #[source] io::Error),
    #[error("{path}: {what}")]
    File {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    System(&'static str, #[source] nix::errno::Errno),
    #[error("a message between bench processes is malformed")]
    Message(#[from] serde_json::Error),
    #[error("a worker process ended before its result; see its message above")]
    WorkerDied,
    #[error("a worker process gave no sign of life for {0} s")]
    WorkerSilent(u64),
    #[error("{0} is missing; `cargo xtask bench` and `cargo xtask demo` build it")]
    MissingProgram(PathBuf),
    #[error("the private vkmpsd {what}; its log ends with:\n{log}")]
    Daemon { what: String, log: String },
    #[error("wrong result: {0}")]
    Wrong(String),
    #[error("{path} is no PNG picture this program reads")]
    Decode {
        path: PathBuf,
        #[source]
        source: png::DecodingError,
    },
    #[error("the picture could not be written")]
    Encode(#[from] png::EncodingError),
    #[error("the daemon does not grant the priority {0:?}")]
    NotGranted(Rank),
    #[error("{0}")]
    Usage(&'static str),
}

/// The error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
