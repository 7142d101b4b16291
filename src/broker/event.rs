//! What administrators read of: one variant per line of the log.

use vkmps_protocol::ErrorCode;
use vkmps_protocol::handle::{ProgramHash, SessionId};
use vkmps_protocol::message::{DeviceDescription, MemoryClass, Priority};

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
    /// A session opened.
    ClientConnected {
        /// Whose.
        client: Client,
        /// Granted.
        priority: Priority,
    },
    /// A session ended.
    ClientDisconnected {
        /// Whose.
        client: Client,
        /// Why.
        cause: Cause,
    },
    /// A connection got no session.
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
    /// The daemon refuses newcomers and waits for work in flight.
    Draining {
        /// Sessions open.
        sessions: usize,
    },
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The client closed its socket, or died.
    HangUp,
    /// The client does not read its socket.
    Stalled,
    /// The daemon ended it.
    Ended(ErrorCode),
}
