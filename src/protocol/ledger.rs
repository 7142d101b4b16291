//! Layout of the ledger: what the engine had done when it died, kept by the daemon.
//!
//! The engine writes, the daemon reads; clients never map it. For each retired submit the order is: stream state in the
//! ledger, then the client's ring, then the wake-up. What stands here is therefore true even if the client never saw it,
//! and "acknowledged" means that the completion was published.

use crate::limits::{MAX_SESSIONS, MAX_STREAMS};

/// Bytes of one session's slot.
pub const SLOT_BYTES: usize = 64 + MAX_STREAMS * size_of_stream();
/// Bytes of the ledger; sparse.
pub const LEDGER_BYTES: usize = MAX_SESSIONS * SLOT_BYTES;

/// Offset of the session's id (`u64`, 0 = free) in its slot.
pub const SESSION: usize = 0;
/// Offset of the hash (32 bytes) of the pipeline that is being created or first dispatched, all zero when none.
pub const SUSPECT: usize = 32;

/// Offsets in a stream's entry.
pub mod stream {
    /// `u64`: value of the last retired submit.
    pub const RETIRED: usize = 0;
    /// `u32`: records consumed from the ring, free-running.
    pub const CONSUMED: usize = 8;
    /// `u32`: [`crate::ErrorCode`] the stream is poisoned with, 0 for none.
    pub const ERROR: usize = 12;
}

/// Offset of a stream's entry in the ledger.
pub const fn stream_offset(slot: usize, stream: usize) -> usize {
    slot * SLOT_BYTES + 64 + stream * size_of_stream()
}

const fn size_of_stream() -> usize {
    16
}

const _: () = assert!(SLOT_BYTES.is_multiple_of(64));
