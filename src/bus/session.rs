//! A session in a list.

use serde::{Deserialize, Serialize};
use zbus::Type;

/// One line of `ListSessions`: clients that have limits together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct SessionEntry {
    /// Its number.
    pub id: u64,
    /// User who created it.
    pub uid: u32,
    /// Process that did, as far as known.
    pub pid: u32,
    /// What that one calls it; hostile, may hold control characters.
    pub name: String,
    /// Its clients, by their ids.
    pub clients: Vec<u64>,
    /// Device memory of all of them, bytes.
    pub memory_used_bytes: u64,
    /// What that may be, bytes.
    pub memory_limit_bytes: u64,
    /// Most of the device's time for all of them together, percent.
    pub active_thread_percentage: u8,
    /// Highest priority of each, as [`crate::Priority`] has it.
    pub priority: String,
    /// When it was created, microseconds of CLOCK_REALTIME.
    pub created_us: u64,
    /// When it ends by itself, the same; 0: never.
    pub ends_us: u64,
}
