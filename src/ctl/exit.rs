//! Exit statuses; the man pages promise them.

use std::process::ExitCode;

/// What a program ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 2,
    Unreachable = 3,
    NotAuthorised = 4,
    NoSuchClient = 5,
    /// `EX_CONFIG`.
    BadConfiguration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
