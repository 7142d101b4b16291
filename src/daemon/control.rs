//! What administrators ask of the main loop, and what it tells them unasked.
//!
//! The D-Bus side holds only a sender of [`Request`]s and a receiver of [`Change`]s: the main loop owns all state.

use crate::config::LoopSliceQuota;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::sync::oneshot;
use vkmps_broker::{ClientChanges, ClientLimits, Peer, UserChanges, UserView};
use vkmps_bus::LogLevel;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::GlobalPriority;
use vkmps_protocol::group::{GroupId, GroupLimits, NewGroup};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::Priority;
use vkmps_protocol::quota::Limit;
use vkmps_protocol::share::Mode;

/// Where an answer goes. A caller that has gone is no error.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// Something asked of the main loop. Who asks is authorised before it gets here.
#[derive(Debug)]
pub(crate) enum Request {
    /// How the daemon is.
    Status(Reply<Status>),
    /// All counters.
    Statistics(Reply<Vec<(&'static str, u64)>>),
    /// All clients, oldest first.
    Clients(Reply<Vec<ClientView>>),
    /// One client.
    Client(SessionId, Reply<Option<ClientView>>),
    /// The device, while there is one.
    Device(Reply<Option<DeviceView>>),
    /// A descriptor that reads what the engines record.
    Trace(Reply<std::io::Result<OwnedFd>>),
    /// Changes a client's priority.
    SetPriority {
        /// Which.
        client: SessionId,
        /// To what.
        priority: Priority,
        /// Whether only up to what the configuration grants: that may have changed since the caller was authorised.
        granted_only: bool,
        /// Done, or why not.
        reply: Reply<Result<(), PriorityError>>,
    },
    /// Changes a client's limits.
    SetLimits {
        /// Which.
        client: SessionId,
        /// What of them.
        changes: ClientChanges,
        /// Whether its own user does, who may only make them tighter.
        by_owner: bool,
        /// What it has too much of now, or why not.
        reply: Reply<Result<Vec<Limit>, LimitsError>>,
    },
    /// Changes the limits of all clients of a user together.
    SetUserLimits {
        /// Whose.
        uid: u32,
        /// What of them.
        changes: UserChanges,
        /// What they have too much of now, or why not.
        reply: Reply<Result<Vec<Limit>, LimitsError>>,
    },
    /// A user's limits, and its memory: bytes used, bytes it may use.
    UserLimits(u32, Reply<(UserView, (u64, u64))>),
    /// Changes the limits that clients have unless something else is said.
    SetDefaultLimits(ClientChanges, Reply<()>),
    /// How the device's time is shared.
    SetMode(Mode, Reply<()>),
    /// Loop iterations of a slice.
    SetLoopSliceQuota(LoopSliceQuota, Reply<()>),
    /// Ends a client's session.
    Terminate {
        /// Which.
        client: SessionId,
        /// Done, or no such client.
        reply: Reply<Result<(), NoSuchClient>>,
    },
    /// Opens a session; or why there is none.
    CreateSession(NewSession, Reply<Result<Held, (ErrorCode, String)>>),
    /// All sessions, oldest first.
    Sessions(Reply<Vec<SessionView>>),
    /// Ends a session; somebody may want to know whether there was one.
    ReleaseSession(GroupId, Option<Reply<Result<(), NoSuchSession>>>),
    /// Refuse newcomers.
    Drain(Reply<Result<(), Stopping>>),
    /// Let them in again.
    Resume(Reply<Result<(), Stopping>>),
    /// Read the configuration again. Keys that need a restart, or what is wrong with it.
    Reload(Reply<Result<Vec<String>, String>>),
    /// How much to log.
    SetLogLevel(LogLevel, Reply<()>),
    /// A call was refused; for the log.
    Denied {
        /// Who called.
        uid: Option<u32>,
        /// Its unique name on the bus.
        sender: String,
        /// The polkit action.
        action: &'static str,
    },
}

/// No session has this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchClient;

/// No group has this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchSession;

/// A session that is to be.
#[derive(Debug)]
pub(crate) struct NewSession {
    /// Who asks.
    pub(crate) peer: Peer,
    /// For what.
    pub(crate) group: NewGroup,
}

/// A session that somebody holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// Its name.
    pub(crate) id: GroupId,
    /// Its other end is dropped when the session is over.
    pub(crate) over: oneshot::Receiver<()>,
}

/// A session, as administrators see it: clients with limits together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionView {
    /// Its name.
    pub(crate) id: GroupId,
    /// User who opened it.
    pub(crate) uid: u32,
    /// Process that did, 0 where it is not known.
    pub(crate) pid: i32,
    /// What that one calls it; hostile.
    pub(crate) name: String,
    /// As they were asked for.
    pub(crate) limits: GroupLimits,
    /// Its clients.
    pub(crate) clients: Vec<SessionId>,
    /// Memory that they have, and may have.
    pub(crate) memory_bytes: (u64, u64),
    /// Microseconds of CLOCK_REALTIME.
    pub(crate) created_us: u64,
    /// The same; 0: it does not end by itself.
    pub(crate) ends_us: u64,
}

/// A priority stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PriorityError {
    /// Whose?
    NoSuchClient,
    /// The configuration grants less by now.
    NotGranted,
}

/// Limits stay as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitsError {
    /// Whose?
    NoSuchClient,
    /// Some would be wider, which is for administrators.
    Wider,
    /// So many percent would be reserved in all.
    Overbooked(u32),
}

/// The daemon leaves; nothing changes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping;

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// What it does.
    pub(crate) state: State,
    /// Why there is no engine, if it failed.
    pub(crate) detail: String,
    /// The engine's process, 0 for none.
    pub(crate) engine_pid: u32,
    /// Engines replaced.
    pub(crate) restarts: u32,
    /// Sandbox checks that failed and are only warned of.
    pub(crate) warnings: Vec<String>,
    /// Since when it runs.
    pub(crate) uptime: Duration,
    /// What is logged.
    pub(crate) log_level: LogLevel,
    /// Sessions open.
    pub(crate) clients: u32,
    /// As configured.
    pub(crate) scheduling_mode: &'static str,
    /// As configured, loop iterations.
    pub(crate) loop_slice_quota: u64,
    /// What clients may have for whom nobody said something else: percent, bytes.
    pub(crate) default_limits: (u8, u64),
    /// Device time of priority realtime, and its period, microseconds.
    pub(crate) realtime_us: (u64, u64),
    /// Submits accepted and not over, of all clients.
    pub(crate) queue_depth: u64,
    /// Dispatches that are over, of all clients there ever were.
    pub(crate) dispatches: u64,
}

/// What the daemon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No engine yet.
    Starting,
    /// All is well.
    Serving,
    /// No newcomers, clients left.
    Draining,
    /// No newcomers, no clients.
    Drained,
    /// It leaves.
    Stopping,
    /// No engine can be started; clients are refused until one can.
    Failed,
}

/// A client, as administrators see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClientView {
    /// Its name.
    pub(crate) id: SessionId,
    /// User.
    pub(crate) uid: u32,
    /// Process when it connected.
    pub(crate) pid: i32,
    /// What it calls itself; hostile.
    pub(crate) name: String,
    /// Of its work.
    pub(crate) priority: Priority,
    /// Whether it runs one lane lower, for want of budget.
    pub(crate) demoted: bool,
    /// What it may have.
    pub(crate) limits: ClientLimits,
    /// Microseconds of CLOCK_REALTIME.
    pub(crate) connected_since_us: u64,
    /// Bytes it may have.
    pub(crate) memory_limit_bytes: u64,
    /// Bytes it has.
    pub(crate) memory_used_bytes: u64,
    /// How many it has.
    pub(crate) buffers: u32,
    /// Of these, those that may be offered.
    pub(crate) shared_buffers: u32,
    /// Handles to buffers of others.
    pub(crate) attached_buffers: u32,
    /// How many it has.
    pub(crate) programs: u32,
    /// Submits accepted and not over.
    pub(crate) queue_depth: u32,
    /// Dispatches that are over.
    pub(crate) dispatches: u64,
    /// Its part of the batches it was in.
    pub(crate) device_time: Duration,
    /// Submits that the device was given, or the first piece of.
    pub(crate) submits: u64,
    /// What these waited for that.
    pub(crate) wait: Duration,
    /// Pieces that the device was given.
    pub(crate) slices: u64,
    /// Pieces that waited for work of others after the piece before them.
    pub(crate) preemptions: u64,
    /// What of the last second was its device time; 1 is all.
    pub(crate) share: f64,
}

/// The device, as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceView {
    /// Its name.
    pub(crate) name: String,
    /// Driver's name and version.
    pub(crate) driver: String,
    /// Of the device.
    pub(crate) uuid: [u8; 16],
    /// Whether it computes on the host's cores.
    pub(crate) software: bool,
    /// Whether its memory is the host's.
    pub(crate) unified: bool,
    /// Hardware queues in use.
    pub(crate) queues: u32,
    /// Extensions in use.
    pub(crate) extensions: Vec<String>,
    /// Of each hardware queue.
    pub(crate) global_priorities: Vec<GlobalPriority>,
    /// The process that runs the driver.
    pub(crate) engine_pid: u32,
    /// Device memory: bytes there are, bytes in use.
    pub(crate) device_memory_bytes: (u64, u64),
    /// Host memory for the device: bytes there are, bytes in use.
    pub(crate) host_memory_bytes: (u64, u64),
}

/// What administrators hear of without asking.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// A session opened.
    ClientAdded(ClientView),
    /// A session ended.
    ClientRemoved {
        /// Which.
        client: SessionId,
        /// In words.
        reason: String,
    },
    /// A session's priority was changed.
    Priority {
        /// Whose.
        client: SessionId,
        /// To what.
        priority: Priority,
    },
    /// A session's limits were changed, or it runs in another lane.
    Limits(ClientView),
    /// A device is served, or none any more.
    Device(Option<DeviceView>),
    /// The daemon's state, its log level or a configured value changed; the status has all of it.
    Status(Status),
    /// Device or engine failed.
    DeviceFault {
        /// In words.
        reason: String,
        /// Sessions that ended with it.
        sessions: u32,
    },
    /// Somebody was refused something.
    LimitReached {
        /// Its session, once it has one.
        client: Option<SessionId>,
        /// User.
        uid: u32,
        /// `memory`, `clients`, `programs`, `buffers` or `submits`.
        limit: &'static str,
    },
}
