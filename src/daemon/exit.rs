//! How the daemon ends, as scripts and systemd see it. A wrong command line ends with 2, by clap.

use std::process::ExitCode;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was asked to, or had nothing to do.
    Success = 0,
    /// It could not start or go on.
    Failure = 1,
    /// It could not confine itself: `EX_NOPERM` of sysexits.h.
    Sandbox = 77,
    /// The configuration is bad: `EX_CONFIG` of sysexits.h.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
