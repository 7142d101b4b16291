//! Clients: how a program gets to the daemon, and everything else from there.

use crate::allocation::{Contents, allocate};
use crate::buffer::{Buffer, Memory};
use crate::connection::Connection;
use crate::control::unexpected;
use crate::dispatch::Dispatch;
use crate::environment;
use crate::error::Error;
use crate::handshake::{self, Greeting};
use crate::program::ProgramBuilder;
use crate::stream::Stream;
use crate::submission::Submission;
use crate::wishes::Wishes;
use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::limits::MAX_NAME_BYTES;
use vkmps_protocol::message::{ClientMessage, DaemonMessage, DeviceDescription, Priority};
use vkmps_protocol::quota::{Amount, Quota};
use vkmps_protocol::token::{NoToken, Pass, Token};

/// A session with the daemon. Clones are the same session; it ends when the last clone and everything made from it are
/// dropped, and the daemon then releases whatever is left of it.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Arc<Connection>,
    default_stream: Stream,
}

impl Client {
    /// Connects to the daemon at `VKMPS_SOCKET`, or `/run/vkmps/vkmps.sock`: as one of the session of `VKMPS_SESSION`, and
    /// with `VKMPS_TOKEN` where the daemon asks for a token.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub fn connect() -> Result<Self, Error> {
        Self::builder().connect()
    }

    /// For more than the defaults.
    pub fn builder() -> Builder {
        Builder {
            socket: None,
            name: None,
            wishes: Wishes::default(),
            session: None,
            token: None,
        }
    }

    /// The device that everyone shares.
    pub fn device(&self) -> &DeviceDescription {
        self.0.connection.device()
    }

    /// The session's number, as administrators see it.
    pub fn session(&self) -> u64 {
        self.0.connection.session()
    }

    /// The priority that was granted, or that somebody changed it to since.
    pub fn priority(&self) -> Priority {
        self.0.connection.lane_of_work().0
    }

    /// Whether work of priority `Realtime` runs as `High` for now: the session has used its device time of this period.
    pub fn is_demoted(&self) -> bool {
        self.0.connection.lane_of_work().1
    }

    /// What the session may have, and has.
    ///
    /// # Errors
    /// What ended the session.
    pub fn quota(&self) -> Result<Quota, Error> {
        let connection = &self.0.connection;
        let answer = connection
            .control()
            .request(connection, &ClientMessage::QueryQuota, &[])?;
        match answer {
            DaemonMessage::Quota(quota) => Ok(quota),
            _ => Err(unexpected(connection)),
        }
    }

    /// Begins to register a program from a SPIR-V module in this machine's byte order.
    pub fn program<'a>(&'a self, spirv: &'a [u8]) -> ProgramBuilder<'a> {
        ProgramBuilder::new(&self.0.connection, spirv)
    }

    /// Allocates a buffer of zeros.
    ///
    /// # Errors
    /// `InvalidArgument` for no bytes, `OutOfDeviceMemory`, `OutOfHostMemory`, `LimitReached`; what ended the session.
    pub fn alloc(&self, bytes: u64, memory: Memory) -> Result<Buffer, Error> {
        self.alloc_with(bytes, memory, Contents::Zero)
    }

    /// Allocates a buffer that may hold bytes of earlier buffers of this session, and saves the time to clear them.
    ///
    /// # Errors
    /// As [`Self::alloc`].
    pub fn alloc_unscrubbed(&self, bytes: u64, memory: Memory) -> Result<Buffer, Error> {
        self.alloc_with(bytes, memory, Contents::Any)
    }

    /// A new stream; a session has at most 256.
    ///
    /// # Errors
    /// `LimitReached`; what ended the session.
    pub fn stream(&self) -> Result<Stream, Error> {
        Stream::new(self.0.connection.clone())
    }

    /// The stream that every client has.
    pub fn default_stream(&self) -> &Stream {
        &self.0.default_stream
    }

    /// Submits a dispatch to the default stream.
    ///
    /// # Errors
    /// As [`Stream::submit`].
    pub fn submit(&self, dispatch: impl Borrow<Dispatch>) -> Result<Submission, Error> {
        self.0.default_stream.submit(dispatch)
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }

    fn alloc_with(&self, bytes: u64, memory: Memory, contents: Contents) -> Result<Buffer, Error> {
        let connection = &self.0.connection;
        let allocation = allocate(connection, bytes, memory.into(), contents)?;
        Ok(Buffer::new(connection.clone(), allocation))
    }
}

/// How to connect.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before connect"]
pub struct Builder {
    socket: Option<PathBuf>,
    name: Option<String>,
    wishes: Wishes,
    session: Option<Result<Token, NoToken>>,
    token: Option<Pass>,
}

impl Builder {
    /// The daemon's socket, instead of `VKMPS_SOCKET` or the default.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// What administrators see, instead of the program's name; cut to 64 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The priority to ask for, instead of `Medium`; policy may grant less. `VKMPS_CLIENT_PRIORITY` can lower it, or name
    /// the one to ask for where the program does not.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.wishes.priority(priority);
        self
    }

    /// Memory that the session gets at most; policy may grant less. `VKMPS_DEVICE_MEM_LIMIT` can lower it.
    pub fn memory_limit(mut self, amount: Amount) -> Self {
        self.wishes.memory(amount);
        self
    }

    /// Percent of the device's time that the session gets at most, 1 to 100; policy may grant less.
    /// `VKMPS_ACTIVE_THREAD_PERCENTAGE` can lower it.
    pub fn active_thread_percentage(mut self, percent: u8) -> Self {
        self.wishes.cap(percent);
        self
    }

    /// The session to belong to, by its [`crate::Session::token`], instead of `VKMPS_SESSION`.
    pub fn session(mut self, token: &str) -> Self {
        self.session = Some(token.parse());
        self
    }

    /// What the administrator gave to all who may connect, instead of `VKMPS_TOKEN`.
    pub fn token(mut self, token: impl Into<Vec<u8>>) -> Self {
        self.token = Some(Pass(token.into()));
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// `NoDaemon`, `DaemonFull`, `VersionMismatch`, `PermissionDenied`, `Draining`, `NoDevice`, `DaemonLost` when it
    /// closed the connection, `Timeout` after 30 s without an answer, `InvalidArgument` for a path that cannot be a
    /// socket's, for limits and an environment that make no sense, `SessionOver` when the session of `VKMPS_SESSION` is.
    pub fn connect(self) -> Result<Client, Error> {
        let mut wishes = self.wishes;
        wishes.tighten_by_environment()?;
        if !wishes.limits.is_valid() {
            let text = "a limit is no 0, and a percentage at most 100";
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        let path = self.socket.unwrap_or_else(environment::socket);
        let name = self.name.unwrap_or_else(program_name);
        let opened = handshake::open(
            &path,
            Greeting {
                name: cut(name),
                priority: wishes.priority.unwrap_or_default(),
                wish: wishes.limits,
                group: environment::group(self.session)?,
                pass: environment::pass(self.token)?,
            },
        )?;
        let connection = Arc::new(Connection::new(opened));
        let default_stream = Stream::default_of(connection.clone());
        Ok(Client(Arc::new(Inner {
            connection,
            default_stream,
        })))
    }
}

fn program_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    path.as_deref()
        .and_then(std::path::Path::file_name)
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// At most [`MAX_NAME_BYTES`] of a name, in whole characters.
fn cut(mut name: String) -> String {
    while name.len() > MAX_NAME_BYTES {
        name.pop();
    }
    name
}
