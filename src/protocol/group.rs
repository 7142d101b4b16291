//! Session groups: clients that have limits together, for as long as somebody holds the group.
//!
//! People call such a group a session, and what a client has with the daemon a client; here the latter is the session.

use crate::message::Priority;
use crate::quota::Amount;
use crate::share::CAPS;
use crate::token::{Pass, Token};
use serde::{Deserialize, Serialize};

/// A group. Unique over the life of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId(pub u64);

/// What the clients of a group may have together, as far as it is limited. They have the limits of their own and of their
/// users besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupLimits {
    /// Most memory: of the device, and of the host where the device has its own, each.
    pub memory: Option<Amount>,
    /// Most of the device's time for all of them together, percent.
    pub cap_percent: Option<u8>,
    /// Highest priority of each of them.
    pub max_priority: Option<Priority>,
    /// Most of them at one time.
    pub clients: Option<u32>,
}

impl GroupLimits {
    /// Whether its values are within their bounds.
    pub fn is_valid(&self) -> bool {
        self.memory.is_none_or(Amount::is_valid)
            && self.cap_percent.is_none_or(|cap| CAPS.contains(&cap))
            && self.clients.is_none_or(|clients| clients > 0)
    }
}

/// First message of a connection that holds a group: it ends when the connection does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGroup {
    /// [`crate::MAGIC`].
    pub magic: u32,
    /// [`crate::VERSION_MAJOR`].
    pub version: u16,
    /// As in [`crate::message::Hello`].
    pub pass: Option<Pass>,
    /// What the group is.
    pub group: NewGroup,
}

/// A group that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGroup {
    /// Shown to administrators; at most [`crate::limits::MAX_NAME_BYTES`].
    pub name: String,
    /// Who shows it is a member; drawn at random by who opens the group.
    pub token: Token,
    /// Of its clients together.
    pub limits: GroupLimits,
    /// It ends after so long, milliseconds, [`MAX_TTL_MS`] at most; 0: not by itself.
    pub ttl_ms: u64,
}

/// A year: what is meant to be longer needs no end.
pub const MAX_TTL_MS: u64 = 366 * 24 * 3600 * 1000;
