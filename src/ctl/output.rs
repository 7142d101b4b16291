//! Where results go: text for people, or JSON for programs.

use crate::error::Error;
use crate::paint::Paint;
use serde::Serialize;
use std::io::{self, Write};

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text(Paint),
    Json,
}

impl Format {
    /// One result: an object of JSON on one line, or text that ends with a line's end.
    pub(crate) fn show(
        self,
        value: &impl Serialize,
        text: impl FnOnce(Paint) -> String,
    ) -> Result<(), Error> {
        match self {
            Self::Text(paint) => write(&text(paint)),
            Self::Json => write(&json(value)?),
        }
    }
}

/// One line of JSON.
fn json(value: &impl Serialize) -> Result<String, Error> {
    let mut line = serde_json::to_string(value)
        .map_err(|error| Error::System("the result cannot be written as JSON", error.into()))?;
    line.push('\n');
    Ok(line)
}

/// To standard output, at once.
pub(crate) fn write(text: &str) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::OutputClosed,
        _ => Error::System("standard output cannot be written", error),
    })
}
