//! Layout of the ledger: what the engine had done when it died, kept by the daemon.
//!
//! The engine writes, the daemon reads, but for one word ([`SAID`]); clients never map it. For each retired submit the order is: stream state in the
//! ledger, then the client's ring, then the wake-up. What stands here is therefore true even if the client never saw it,
//! and "acknowledged" means that the completion was published.
//!
//! The counters of a session are for administrators: each is written on its own, with relaxed order, when a level is over
//! or submits are accepted, and they may contradict each other for a moment. They stand when the session is gone, until
//! the slot is another session's.

use crate::limits::{MAX_SESSIONS, MAX_STREAMS};

/// Bytes of one session's slot.
pub const SLOT_BYTES: usize = STREAMS + MAX_STREAMS * size_of_stream();
/// Bytes of the ledger; sparse.
pub const LEDGER_BYTES: usize = SAID + 64;

/// Offset of a counter (`u64`), the only word that the daemon writes: messages that it sent to this engine after
/// [`crate::engine::ToEngine::Start`], counted once they are in the engine's socket and before any client hears of what
/// they say. An engine that has taken a submit compares it with the messages that it has read: a client that was told
/// that a buffer is freed must not find it still there.
pub const SAID: usize = MAX_SESSIONS * SLOT_BYTES;

/// Offset of a counter (`u64`): batches of work that this engine has given to the device.
pub const BATCHES: usize = SAID + 8;

/// Offset of the id (`u64`, 0 = none yet) of the slot's session, or of its last one.
pub const SESSION: usize = 0;
/// Offset of a counter (`u64`): dispatches of the session that have run to their end.
pub const DISPATCHES: usize = 8;
/// Offset of a counter (`u64`), nanoseconds: the session's part of the time that the device spent on levels its jobs were
/// in. A level lasts from the later of its submission and the end of the level before it on its queue to its own end, as
/// the engine sees them, and all its jobs have equal parts in it, whatever they cost: an approximation until there is a
/// model of costs. Queues run side by side, so that the sum over sessions may grow faster than a clock.
pub const DEVICE_TIME_NS: usize = 16;
/// Offset of a gauge (`u32`): submits of the session that the engine has accepted and that are not over.
pub const QUEUED: usize = 24;
/// Offset of the hash (32 bytes) of the pipeline that is being created or first dispatched, all zero when none.
pub const SUSPECT: usize = 32;
/// Offset of a counter (`u64`): submits of the session that the device was given, or the first piece of.
pub const SUBMITS: usize = 64;
/// Offset of a counter (`u64`), nanoseconds: what these submits waited in the engine before that, all together.
pub const WAIT_NS: usize = 72;
/// Offset of a counter (`u64`): pieces that the device was given; a submit that is not cut is one.
pub const SLICES: usize = 80;
/// Offset of a counter (`u64`): pieces that had to wait for work of other sessions, which the device was given after the
/// piece before it of the same submit.
pub const PREEMPTIONS: usize = 88;
/// Offset of three words (`u64`), a [`crate::window::Window`] in the order of its fields: what of [`DEVICE_TIME_NS`]
/// came lately.
pub const RECENT: usize = 96;
/// Offset of the first stream's entry.
pub const STREAMS: usize = 128;

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
    slot * SLOT_BYTES + STREAMS + stream * size_of_stream()
}

const fn size_of_stream() -> usize {
    16
}

const _: () = assert!(SLOT_BYTES.is_multiple_of(64) && RECENT + 24 <= STREAMS);
