//! Connections and the sessions they carry.

use crate::action::{ConnectionId, Peer};
use crate::event::Client;
use crate::limits::{ClientLimits, ClientSettings};
use crate::memory::{Home, Memory, MemoryBytes};
use crate::programs::Source;
use std::time::Duration;
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::{ChunkId, ProgramHash, SessionId, Table};
use vkmps_protocol::message::{MemoryClass, Priority};
use vkmps_protocol::quota::Wish;

/// A client's socket.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    /// Groups of the process.
    pub(crate) groups: Vec<u32>,
    pub(crate) stage: ConnectionStage,
}

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum ConnectionStage {
    /// Nothing was heard of it.
    AwaitingHello { deadline: Duration },
    /// It said hello before there was an engine, and asked for a priority.
    WaitingForEngine {
        name: String,
        priority: Priority,
        wish: Wish,
        group: Option<GroupId>,
    },
    /// It has a session.
    Session(SessionId),
    /// It holds a group, and asks for nothing.
    Group(GroupId),
}

/// One client's share of the daemon. It outlives its connection until the engine has let go of it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: Peer,
    pub(crate) name: String,
    /// The group that it belongs to.
    pub(crate) group: Option<GroupId>,
    pub(crate) priority: Priority,
    /// Its slot in the ledger.
    pub(crate) slot: u32,
    pub(crate) phase: Phase,
    pub(crate) memory: Memory,
    pub(crate) programs: Table<ProgramHash>,
    pub(crate) pending: Option<Pending>,
    /// Whether its work runs one lane lower than its priority, for want of budget.
    pub(crate) demoted: bool,
    /// What it asked for.
    pub(crate) wish: [ClientSettings; 2],
    /// What its own user tightened since.
    pub(crate) own: ClientSettings,
    /// What an administrator set for it.
    pub(crate) set: ClientSettings,
    /// What comes of these and of what is set for others too.
    pub(crate) limits: ClientLimits,
    /// Sizes of its buffers, and of the one that is being made.
    pub(crate) used: MemoryBytes,
    /// What of it is for a buffer that is not there yet.
    pub(crate) charge: Option<(MemoryClass, u64)>,
}

/// Life of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its region is being made; the engine does not know it.
    Creating { conn: ConnectionId },
    /// The client may ask for things.
    Open { conn: ConnectionId },
    /// The client is gone; the engine still works for it.
    Closing,
}

/// The request that is being worked on.
#[derive(Debug)]
pub(crate) enum Pending {
    /// The module is being copied and hashed.
    Module { source: Source },
    /// The program is being compiled or made into a pipeline.
    Program { hash: ProgramHash },
    /// There is no room for a chunk, but there will be.
    Room { home: Home, bytes: u64 },
    /// A chunk is set aside, and waits for its file or for the engine.
    Buffer {
        chunk: ChunkId,
        home: Home,
        bytes: u64,
    },
}

impl Connection {
    /// How the log calls a connection without a session.
    pub(crate) fn client(&self) -> Client {
        let name = match &self.stage {
            ConnectionStage::WaitingForEngine { name, .. } => name.clone(),
            _ => String::new(),
        };
        Client {
            session: None,
            uid: self.peer.uid,
            pid: self.peer.pid,
            name,
        }
    }
}

impl Session {
    pub(crate) fn conn(&self) -> Option<ConnectionId> {
        match self.phase {
            Phase::Creating { conn } | Phase::Open { conn } => Some(conn),
            Phase::Closing => None,
        }
    }

    /// # Panics
    /// If it is charged for anything but its buffers and the one that is being made.
    pub(crate) fn verify_used(&self) {
        let mut used = self.memory.buffer_bytes();
        if let Some((class, bytes)) = self.charge {
            *used.of_mut(class) += bytes;
        }
        assert_eq!(self.used, used);
        let waits = matches!(
            self.pending,
            Some(Pending::Room { .. } | Pending::Buffer { .. })
        );
        // What a closing session waited for is forgotten, but paid for until the engine has let go of it.
        let paid = self.charge.is_some();
        assert!(paid == waits || self.phase == Phase::Closing);
    }

    /// How the log calls it.
    pub(crate) fn client(&self, id: SessionId) -> Client {
        let Peer { uid, pid } = self.peer;
        Client {
            session: Some(id),
            uid,
            pid,
            name: self.name.clone(),
        }
    }
}
