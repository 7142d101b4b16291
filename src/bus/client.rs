//! A client in a list.

use serde::{Deserialize, Serialize};
use zbus::{OwnedObjectPath, Type};

/// One line of `ListClients`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct ClientEntry {
    /// Session id.
    pub id: u64,
    /// User, as the kernel says.
    pub uid: u32,
    /// Process when it connected.
    pub pid: u32,
    /// What it calls itself; hostile, may hold control characters.
    pub name: String,
    /// systemd unit or scope; empty while unknown.
    pub unit: String,
    /// As [`crate::Priority`] has it.
    pub priority: String,
    /// Device memory, bytes.
    pub memory_used_bytes: u64,
    /// Dispatches that are over.
    pub dispatches: u64,
    /// Submits accepted and not over.
    pub queue_depth: u32,
    /// Device time, ns.
    pub device_time_ns: u64,
    /// When it connected, microseconds of CLOCK_REALTIME.
    pub connected_since_us: u64,
    /// Its object.
    pub object: OwnedObjectPath,
}
