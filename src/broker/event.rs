//! What administrators read of: one variant per line of the log.

use crate::admission::Admission;
use crate::groups::GroupEnd;
use crate::limits::{ClientLimits, UserLimits};
use std::fmt;
use std::time::Duration;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::Ranks;
use vkmps_protocol::group::{GroupId, GroupLimits};
use vkmps_protocol::handle::{ProgramHash, SessionId};
use vkmps_protocol::message::{DeviceDescription, MemoryClass, Priority};
use vkmps_protocol::quota::{Excess, Limit};

/// A client, as the log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its session, once it has one.
    pub session: Option<SessionId>,
    /// User.
    pub uid: u32,
    /// Process.
    pub pid: i32,
    /// What it calls itself; hostile, may hold control characters.
    pub name: String,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A session opened: the client was welcomed.
    ClientConnected {
        /// Whose.
        client: Client,
        /// Granted.
        priority: Priority,
    },
    /// A session that was open ended; once for each [`Event::ClientConnected`].
    ClientDisconnected {
        /// Whose.
        client: Client,
        /// Why.
        cause: Cause,
    },
    /// A connection got no session, or none that was ever open.
    ConnectionRefused {
        /// Whose.
        client: Client,
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// A client broke the protocol and is gone.
    ProtocolViolation {
        /// Who.
        client: Client,
        /// How.
        text: String,
    },
    /// A program is ready for a client.
    ProgramRegistered {
        /// Whose.
        client: Client,
        /// Which.
        hash: ProgramHash,
    },
    /// A program was refused.
    ProgramRefused {
        /// Whose.
        client: Client,
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
        /// What there was too much of.
        limit: Option<Limit>,
    },
    /// A module will not be compiled again.
    ProgramQuarantined {
        /// Which.
        hash: ProgramHash,
        /// Why.
        text: String,
    },
    /// An allocation was refused.
    AllocationRefused {
        /// Whose.
        client: Client,
        /// Size asked for, bytes.
        bytes: u64,
        /// Where.
        class: MemoryClass,
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
        /// The limit it would have broken.
        excess: Option<Excess>,
    },
    /// The engine refused a submit.
    SubmitRefused {
        /// Whose.
        client: Client,
        /// Its stream.
        stream: u32,
        /// Its value.
        value: u64,
        /// Why.
        code: ErrorCode,
        /// Refusals before it that were not reported.
        suppressed: u32,
    },
    /// The engine serves a device.
    EngineReady {
        /// The device.
        device: DeviceDescription,
        /// Extensions in use.
        extensions: Vec<String>,
        /// Checks of its sandbox that failed and are only warned of.
        warnings: Vec<String>,
        /// Its hardware queues.
        ranks: Ranks,
    },
    /// The engine found no usable device, or could not start.
    EngineNotStarted {
        /// Why.
        text: String,
    },
    /// The engine lost its device and is leaving.
    DeviceLost {
        /// In words.
        text: String,
    },
    /// The engine died.
    EngineDied {
        /// How.
        reason: String,
        /// Sessions that ended with it.
        sessions: usize,
    },
    /// A session's priority was changed by an administrator or by the configuration.
    PriorityChanged {
        /// Whose.
        client: Client,
        /// Before.
        from: Priority,
        /// Now.
        to: Priority,
    },
    /// A client of the highest priority used its budget up and runs one lane lower, or has its lane again.
    Demoted {
        /// Which.
        client: Client,
        /// Whether it runs lower now.
        demoted: bool,
    },
    /// A client's limits are others now.
    LimitsChanged {
        /// Whose.
        client: Client,
        /// Now.
        limits: ClientLimits,
        /// What it has more of than it may: it keeps it, and gets nothing more.
        exceeded: Vec<Limit>,
    },
    /// The limits of all clients of a user together are others now.
    UserLimitsChanged {
        /// Whose.
        uid: u32,
        /// Now.
        limits: UserLimits,
        /// What they have more of than they may.
        exceeded: Vec<Limit>,
    },
    /// An administrator changed the limits that clients have unless a rule says otherwise.
    DefaultLimitsChanged {
        /// Now.
        limits: ClientLimits,
    },
    /// A group of clients was opened.
    GroupOpened {
        /// Which.
        group: GroupId,
        /// By whom, and what that one calls it.
        owner: Client,
        /// Of its clients together.
        limits: GroupLimits,
        /// It ends after so long.
        ttl: Option<Duration>,
    },
    /// A group of clients ended, and they with it.
    GroupEnded {
        /// Which.
        group: GroupId,
        /// By whom it was opened, and what that one called it.
        owner: Client,
        /// Why.
        end: GroupEnd,
    },
    /// An administrator shut newcomers out or let them in again.
    AdmissionChanged {
        /// Now.
        admission: Admission,
        /// Sessions open.
        sessions: usize,
    },
    /// The daemon leaves: it refuses newcomers and waits for work in flight.
    Stopping {
        /// Sessions open.
        sessions: usize,
    },
}

impl Event {
    /// The limit that was reached, if that is what happened.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Event::ConnectionRefused {
                code: ErrorCode::DaemonFull,
                ..
            } => Some(Limit::Clients),
            Event::ProgramRefused { limit, .. } => *limit,
            Event::AllocationRefused { code, excess, .. } => match code {
                ErrorCode::OutOfDeviceMemory | ErrorCode::OutOfHostMemory => Some(Limit::Memory),
                _ => excess.map(|excess| excess.limit),
            },
            Event::SubmitRefused {
                code: ErrorCode::LimitReached,
                ..
            } => Some(Limit::Submits),
            _ => None,
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The client closed its socket, or died.
    HangUp,
    /// The client does not read its socket.
    Stalled,
    /// An administrator ended it.
    Terminated,
    /// The daemon ended it.
    Ended(ErrorCode),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::HangUp => f.write_str("the client hung up"),
            Cause::Stalled => f.write_str("the client did not read its socket"),
            Cause::Terminated => f.write_str(TERMINATED),
            Cause::Ended(code) => code.fmt(f),
        }
    }
}

/// What a terminated client reads.
pub(crate) const TERMINATED: &str = "terminated by an administrator";
