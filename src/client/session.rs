//! Sessions: clients of one or more processes that have limits together.

use crate::environment;
use crate::error::Error;
use crate::handshake;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;
use vkmps_ipc::memory::random;
use vkmps_ipc::socket::Seqpacket;
use vkmps_protocol::group::{GroupLimits, MAX_TTL_MS, NewGroup};
use vkmps_protocol::token::Token;
use vkmps_protocol::{ErrorCode, limits::MAX_NAME_BYTES};

/// Clients that have limits together, besides those of their own and of their user. Who has [`Session::token`] in its
/// environment as `VKMPS_SESSION` is one of them. It lasts until this is dropped, its process ends, or its time has passed;
/// then its clients are ended, with `SessionOver`, and what they had is free.
pub struct Session {
    socket: Seqpacket,
    token: Token,
    id: u64,
}

/// How to make a [`Session`].
#[derive(Debug, Clone, Default)]
#[must_use = "nothing happens before create"]
pub struct SessionBuilder {
    socket: Option<PathBuf>,
    name: String,
    limits: GroupLimits,
    ttl: Duration,
}

impl Session {
    /// One without limits, until it is given some.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// Its number, as administrators see it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What makes who shows it one of its clients: the value of `VKMPS_SESSION`. A secret.
    pub fn token(&self) -> String {
        self.token.hex()
    }

    /// Why it is over, if it is. [`AsFd`] has something to read then.
    pub fn end(&self) -> Option<Error> {
        handshake::farewell(&self.socket)
    }
}

impl SessionBuilder {
    /// The daemon's socket, instead of `VKMPS_SOCKET` or the default.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// What administrators see; 64 bytes at most.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What its clients may have together.
    pub fn limits(mut self, limits: GroupLimits) -> Self {
        self.limits = limits;
        self
    }

    /// It ends after so long; zero: not by itself.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// `InvalidArgument` for limits that are none, a long name or a time of more than a year; `LimitReached` when the user
    /// has as many as it may; else as [`crate::Builder::connect`].
    pub fn create(self) -> Result<Session, Error> {
        let bad = |text: &'static str| Err(Error::new(ErrorCode::InvalidArgument, text));
        if self.name.len() > MAX_NAME_BYTES {
            return bad("a name longer than 64 bytes");
        }
        if !self.limits.is_valid() {
            return bad("limits of a session beyond their bounds");
        }
        let ttl_ms = u64::try_from(self.ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        if ttl_ms > MAX_TTL_MS {
            return bad("a session lasts a year at most");
        }
        let path = self.socket.unwrap_or_else(environment::socket);
        let token = Token(random().map_err(Error::system)?);
        let group = NewGroup {
            name: self.name,
            token,
            limits: self.limits,
            ttl_ms,
        };
        let (socket, id) = handshake::open_group(&path, group)?;
        Ok(Session { socket, token, id })
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Session {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// The token stays out of logs.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
