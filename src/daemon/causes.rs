//! An error with all its causes, in one line.

use std::error::Error;

/// `what: why: why that`.
pub(crate) fn line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}
