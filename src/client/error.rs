//! The one error of the client.

use std::borrow::Cow;
use vkmps_ipc::SystemError;
use vkmps_protocol::ErrorCode;

/// Why a call failed: a number that never changes its meaning, and a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{separator}{text}", separator = if text.is_empty() { "" } else { ": " })]
pub struct Error {
    code: ErrorCode,
    text: Cow<'static, str>,
}

impl Error {
    pub(crate) fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
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
