//! Words of sharing: who may attach to a buffer of somebody else, and as what.

use crate::handle::{BufferId, SessionId};
pub use crate::token::Token;
use serde::{Deserialize, Serialize};

/// What the user of a shared buffer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Grant {
    /// Read and write, by host and device.
    ReadWrite,
    /// Read: the descriptor cannot be written through, and work that might write is refused.
    ReadOnly,
}

/// For whom an offer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Clients of a user, as often as they like.
    User(u32),
    /// Whoever shows the token first.
    Holder(Token),
}

/// A shareable buffer: its owner and the owner's handle. No secret; what opens it is an [`Audience`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShareName {
    /// Its owner.
    pub session: SessionId,
    /// The owner's handle.
    pub buffer: BufferId,
}
