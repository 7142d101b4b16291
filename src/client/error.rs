//! The one error of the client.

use std::borrow::Cow;
use vkmps_ipc::SystemError;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::quota::Excess;

/// Why a call failed: a number that never changes its meaning, and a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{separator}{text}", separator = if text.is_empty() { "" } else { ": " })]
pub struct Error {
    code: ErrorCode,
    text: Cow<'static, str>,
    excess: Option<Excess>,
}

impl Error {
    pub(crate) fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
            excess: None,
        }
    }

    /// A request that the daemon refused.
    pub(crate) fn refused(code: ErrorCode, text: String, excess: Option<Excess>) -> Self {
        Self {
            excess,
            ..Self::new(code, text)
        }
    }

    /// For `map_err`: an operating-system call of this process failed.
    pub(crate) fn system(error: SystemError) -> Self {
        Self::new(ErrorCode::System, error.to_string())
    }

    /// The kind of failure.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The limit that the request would have broken, with what is used and what may be: for `LimitReached` of a limit
    /// that somebody set.
    pub fn excess(&self) -> Option<Excess> {
        self.excess
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_one_sentence() {
        assert_eq!(Error::from(ErrorCode::Timeout).to_string(), "timed out");
        let error = Error::new(ErrorCode::OutOfRange, "bytes 4 to 12 of a buffer of 8");
        assert_eq!(
            error.to_string(),
            "range outside the buffer: bytes 4 to 12 of a buffer of 8"
        );
    }
}
