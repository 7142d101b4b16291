//! What the tasks around the main loop tell it.

use crate::control::Request;
use crate::foreign::Foreign;
use std::os::fd::OwnedFd;
use tokio::sync::mpsc;
use vkmps_broker::{ConnectionId, Peer};
use vkmps_ipc::socket::Seqpacket;
use vkmps_ipc::spawn::Report;
use vkmps_protocol::DecodeError;
use vkmps_protocol::handle::ProgramHash;
use vkmps_protocol::message::ClientMessage;

/// To the main loop. Bounded: who floods the daemon waits.
pub(crate) type Happenings = mpsc::Sender<Happening>;

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A client connected.
    Accepted {
        socket: Seqpacket,
        peer: Peer,
        groups: Vec<u32>,
    },
    /// A client sent a packet.
    Client {
        conn: ConnectionId,
        packet: Result<(ClientMessage, Vec<Foreign>), DecodeError>,
    },
    /// A client is gone.
    ClientGone { conn: ConnectionId },
    /// A client's module was copied, or cannot be.
    Module {
        conn: ConnectionId,
        copied: Result<(ProgramHash, OwnedFd), String>,
    },
    /// An engine or compiler sent a packet.
    Process {
        id: u64,
        packet: Vec<u8>,
        descriptors: Vec<OwnedFd>,
    },
    /// An engine or compiler closed its control socket.
    ProcessClosed { id: u64 },
    /// The spawner reports.
    Spawner(Report),
    /// The spawner is gone: no engine can be started any more.
    SpawnerGone,
    /// An administrator asks something.
    Request(Request),
    /// The configuration is to be read again.
    Reload,
    /// The daemon is asked to stop.
    Terminate,
}
