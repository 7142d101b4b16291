//! What the environment says of connecting.

use crate::error::Error;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::token::{NoToken, Pass, Token};

/// Where the daemon listens.
pub(crate) fn socket() -> PathBuf {
    std::env::var_os("VKMPS_SOCKET")
        .filter(|path| !path.is_empty())
        .map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}

/// The group to belong to: the one that was given, else that of `VKMPS_SESSION`. What is malformed is no way out of it.
pub(crate) fn group(given: Option<Result<Token, NoToken>>) -> Result<Option<Token>, Error> {
    let set = || {
        let text = std::env::var_os("VKMPS_SESSION")?;
        Some(text.to_str().map_or(Err(NoToken), str::parse))
    };
    let bad = |error: NoToken| {
        let text = format!("VKMPS_SESSION: {error}");
        Error::new(ErrorCode::InvalidArgument, text)
    };
    given.or_else(set).transpose().map_err(bad)
}

/// What the administrator gave to all who may connect: what was given here, else `VKMPS_TOKEN`.
pub(crate) fn pass(given: Option<Pass>) -> Result<Option<Pass>, Error> {
    let set = || Some(Pass(std::env::var_os("VKMPS_TOKEN")?.into_vec()));
    match given.or_else(set) {
        Some(pass) if !pass.is_valid() => {
            let text = "VKMPS_TOKEN is empty or longer than 256 bytes";
            Err(Error::new(ErrorCode::InvalidArgument, text))
        }
        pass => Ok(pass),
    }
}

/// Where systemd's socket unit puts it.
const DEFAULT_SOCKET: &str = "/run/vkmps/vkmps.sock";
