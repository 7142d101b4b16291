//! `vkmpsctl check-config`: vkmpsd itself checks, so that there is one opinion.

use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;
use serde::Serialize;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What vkmpsd says; the keys are those of the JSON.
#[derive(Debug, Serialize)]
struct Verdict {
    valid: bool,
    /// What vkmpsd wrote: nothing, or what is wrong.
    message: String,
}

/// Runs `vkmpsd --check-config`.
pub(crate) fn run(config: Option<&Path>, format: Format) -> Result<(), Error> {
    let path = daemon();
    let mut command = Command::new(&path);
    command.arg("--check-config");
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let output = match format {
        Format::Json => command.output(),
        // It speaks to the terminal itself.
        Format::Text(_) => command.spawn().and_then(|child| child.wait_with_output()),
    };
    let output = output.map_err(|source| Error::Start { path, source })?;
    let message = String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned();
    format.show(
        &Verdict {
            valid: output.status.success(),
            message,
        },
        |_| String::new(),
    )?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) if code == Exit::BadConfiguration as i32 => {
            Err(Error::Reported(Exit::BadConfiguration))
        }
        _ => Err(Error::Reported(Exit::Failure)),
    }
}

/// The installed daemon, or the one that was built with this program.
fn daemon() -> PathBuf {
    let installed = Path::new("/usr/sbin/vkmpsd");
    let beside = || Some(env::current_exe().ok()?.parent()?.join("vkmpsd"));
    match beside() {
        Some(beside) if beside.exists() => beside,
        _ => installed.to_owned(),
    }
}
