//! One line on standard error that says how far it is; silent unless somebody watches.

use std::io::{IsTerminal, stderr};

/// Replaces the line.
pub(crate) fn show(text: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

/// Removes the line.
pub(crate) fn clear() {
    show("");
}
