//! Where clients come in: the one place that reads LISTEN_FDS.

use crate::standalone::{Standalone, StandaloneError};
use listenfd::ListenFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use vkmps_ipc::SystemError;
use vkmps_ipc::socket::Seqpacket;

/// Listening sockets, and whose they are.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// All of them.
    pub(crate) sockets: Vec<Seqpacket>,
    /// Set when the daemon made its socket itself; the files go when this is dropped.
    pub(crate) standalone: Option<Standalone>,
}

/// No socket to listen on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// What systemd passed is no packet socket.
    #[error("inherited descriptor {index} is no SOCK_SEQPACKET socket")]
    Inherited {
        /// From 0.
        index: usize,
        /// What is wrong.
        source: std::io::Error,
    },
    /// A call on an inherited socket failed.
    #[error("an inherited socket cannot be used")]
    System(#[from] SystemError),
    /// The own one cannot be made.
    #[error(transparent)]
    Standalone(#[from] StandaloneError),
}

/// Takes the sockets that systemd passed, else makes one at `path`.
pub(crate) fn listen(path: &Path) -> Result<Listeners, SocketError> {
    let mut inherited = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..inherited.len() {
        let (family, kind) = (nix::libc::AF_UNIX, nix::libc::SOCK_SEQPACKET);
        let taken = inherited.take_custom::<OwnedFd>(index, family, kind, "unix seqpacket");
        if let Some(fd) = taken.map_err(|source| SocketError::Inherited { index, source })? {
            let socket = Seqpacket::from(fd);
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
    }
    if !sockets.is_empty() {
        return Ok(Listeners {
            sockets,
            standalone: None,
        });
    }
    let (standalone, socket) = Standalone::claim(path)?;
    Ok(Listeners {
        sockets: vec![socket],
        standalone: Some(standalone),
    })
}
