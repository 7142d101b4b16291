//! What goes into the broker and what comes out.

use crate::admission::Admission;
use crate::event::Event;
use crate::limits::{ClientChanges, UserChanges};
use crate::programs::Source;
use crate::{Config, Policy};
use vkmps_protocol::engine::{FromEngine, ToEngine};
use vkmps_protocol::group::{GroupId, NewGroup};
use vkmps_protocol::handle::{ChunkId, ProgramHash, SessionId};
use vkmps_protocol::message::{ClientMessage, DaemonMessage, Priority};
use vkmps_protocol::program::Interface;
use vkmps_protocol::sharing::Grant;
use vkmps_protocol::{DecodeError, ErrorCode};

/// A client's socket. Unique over the life of a daemon; chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Who is at the other end of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Process, for the log only.
    pub pid: i32,
}

/// Memory that the caller makes and keeps for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The ring region and its doorbell.
    Region,
    /// The arena of [`crate::Config::arena_bytes`], sparse.
    Arena,
    /// The file of a buffer that may be shared, sparse. It stays until [`Action::DropShare`], whatever becomes of the
    /// session.
    Share {
        /// Its chunk.
        chunk: ChunkId,
        /// Its length.
        bytes: u64,
    },
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A client connected.
    ConnectionOpened {
        /// Its socket.
        conn: ConnectionId,
        /// Who it is.
        peer: Peer,
        /// Groups of its process.
        groups: Vec<u32>,
    },
    /// A client sent a message. While a request is unanswered the caller does not read that client's socket; a message
    /// that comes all the same is a protocol violation.
    Message {
        /// Its socket.
        conn: ConnectionId,
        /// The message; its descriptors stay with the caller.
        message: ClientMessage,
    },
    /// A client sent what is no message.
    BadMessage {
        /// Its socket.
        conn: ConnectionId,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A client hung up or died.
    ConnectionClosed {
        /// Its socket.
        conn: ConnectionId,
    },
    /// A client does not read what it is sent, and its socket is full.
    ConnectionStalled {
        /// Its socket.
        conn: ConnectionId,
    },
    /// Answer to [`Action::Create`].
    Created {
        /// Whose.
        session: SessionId,
        /// What.
        resource: Resource,
    },
    /// Answer to [`Action::Create`].
    NotCreated {
        /// Whose.
        session: SessionId,
        /// What.
        resource: Resource,
        /// Why.
        text: String,
    },
    /// Answer to [`Action::CopyModule`].
    ModuleCopied {
        /// Who sent it.
        conn: ConnectionId,
        /// SHA-256 over module, entry point and specialization.
        hash: ProgramHash,
    },
    /// Answer to [`Action::CopyModule`].
    ModuleUnreadable {
        /// Who sent it.
        conn: ConnectionId,
        /// Why.
        text: String,
    },
    /// The engine says something.
    Engine(FromEngine),
    /// The engine's process is gone.
    EngineGone {
        /// How it ended, in words.
        reason: String,
        /// Programs that it was making or dispatching for the first time, from the ledger.
        suspects: Vec<ProgramHash>,
    },
    /// A job of [`Action::Compile`] succeeded; the caller keeps the rewritten module and the pipeline cache.
    Compiled {
        /// Which.
        hash: ProgramHash,
        /// Its interface.
        interface: Interface,
    },
    /// A job of [`Action::Compile`] failed.
    CompileFailed {
        /// Which.
        hash: ProgramHash,
        /// How.
        failure: CompileFailure,
    },
    /// Somebody opens a group that no connection holds; the caller has asked [`crate::Broker::refuses_group`], and
    /// releases it when who opened it is gone.
    OpenGroup {
        /// Who.
        peer: Peer,
        /// What.
        group: NewGroup,
    },
    /// A group ends. For one that is not there (any more) nothing happens.
    ReleaseGroup {
        /// Which.
        group: GroupId,
    },
    /// [`crate::Broker::next_deadline`] has come.
    Tick,
    /// An administrator gives a session another priority; policy is the caller's. For a session that is not open (any
    /// more) nothing happens.
    SetPriority {
        /// Whose.
        session: SessionId,
        /// From now on.
        priority: Priority,
    },
    /// Limits of a session are changed: by an administrator, or by its own user, who may only tighten them; the caller
    /// has asked [`crate::Broker::tightens`]. For one that is not there (any more) nothing happens.
    SetLimits {
        /// Whose.
        session: SessionId,
        /// What of them.
        changes: ClientChanges,
        /// Who changes them.
        by_owner: bool,
    },
    /// An administrator changes the limits of all clients of a user together; the caller has asked
    /// [`crate::Broker::reserved_percent`].
    SetUserLimits {
        /// Whose.
        uid: u32,
        /// What of them.
        changes: UserChanges,
    },
    /// An administrator changes the limits that clients have unless a rule says otherwise.
    SetDefaultLimits(ClientChanges),
    /// An administrator changes how the device's time is shared.
    SetPolicy(Policy),
    /// An administrator ends a session. For one that is not open (any more) nothing happens.
    Terminate {
        /// Which.
        session: SessionId,
    },
    /// An administrator shuts newcomers out or lets them in again.
    SetAdmission(Admission),
    /// The configuration was read again. Limits apply to newcomers, a lower maximum of priorities to all; the size of
    /// arenas stays.
    Configure(Config),
    /// The daemon is asked to leave: work in flight ends, then [`Action::Exit`] follows.
    Stop,
    /// The time for [`Input::Stop`] is over.
    StopDeadline,
}

/// How a compilation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileFailure {
    /// The compiler said no.
    Refused {
        /// `InvalidModule` or `CompileFailed`.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// The compiler's process died on it.
    Crashed,
    /// The compiler's process died before it took the module, or did not take it in time; not the module's fault.
    Unread {
        /// How.
        text: String,
    },
    /// The compiler took the module, then took too long and was killed.
    TimedOut,
    /// No compiler could be started; not the module's fault.
    NotStarted {
        /// Why.
        text: String,
    },
}

/// Something to do. Actions are done in the order they come; what one needs, earlier ones have made.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send a message to a client. With `Welcome` go the region and the doorbell of the session, with `BufferReady` its
    /// arena when the message says so.
    Send {
        /// To whom.
        conn: ConnectionId,
        /// What.
        message: DaemonMessage,
    },
    /// Send a message to a client together with the file of a shared buffer.
    SendShare {
        /// To whom.
        conn: ConnectionId,
        /// What.
        message: DaemonMessage,
        /// Whose file.
        chunk: ChunkId,
        /// Whether the descriptor can be written through.
        grant: Grant,
    },
    /// Drop the file of a shared buffer.
    DropShare {
        /// Its chunk.
        chunk: ChunkId,
    },
    /// Close a connection; what was sent before still arrives.
    Close {
        /// Which.
        conn: ConnectionId,
    },
    /// Make a resource; answered by [`Input::Created`] or [`Input::NotCreated`].
    Create {
        /// For whom.
        session: SessionId,
        /// What.
        resource: Resource,
    },
    /// Write the code into the state word of the session's region and wake all who wait on it.
    End {
        /// Which.
        session: SessionId,
        /// Why.
        code: ErrorCode,
    },
    /// Write into the session's region in which lane its work runs.
    Lane {
        /// Which.
        session: SessionId,
        /// Its priority.
        priority: Priority,
        /// Whether its work runs one lane lower.
        demoted: bool,
    },
    /// Drop all resources of a session.
    Release {
        /// Which.
        session: SessionId,
    },
    /// Copy the module that came with the client's last message, and hash it; answered by [`Input::ModuleCopied`] or
    /// [`Input::ModuleUnreadable`].
    CopyModule {
        /// Who sent it.
        conn: ConnectionId,
        /// How to read and hash it.
        source: Source,
    },
    /// Keep the copied module for a compilation; copies not named so are dropped with the answer.
    KeepModule {
        /// Who sent it.
        conn: ConnectionId,
        /// Its name from now on.
        hash: ProgramHash,
    },
    /// Hand a kept module to a compiler; answered by [`Input::Compiled`] or [`Input::CompileFailed`].
    Compile {
        /// Which.
        hash: ProgramHash,
        /// How.
        source: Source,
    },
    /// Drop everything kept of a program.
    DropProgram {
        /// Which.
        hash: ProgramHash,
    },
    /// Send a message to the engine. With `AddSession` go the session's region and doorbell, with `AddChunk` its arena,
    /// with `AddPipeline` the program's rewritten module and pipeline cache.
    ToEngine(ToEngine),
    /// Write a line to the log.
    Log(Event),
    /// What was in flight has ended, or had its time: leave.
    Exit,
}
