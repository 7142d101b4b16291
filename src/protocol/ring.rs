//! Layout of a session's shared region: a session page, then one block per stream with a submission ring.
//!
//! The daemon makes the region as a sealed memfd; the client and the engine map it and share it directly. Both sides
//! distrust what the other wrote: an index is read once, compared with private state, then used.
//!
//! ```text
//! 0        session page: dirty streams (client) | wake-up needed, spin hint (engine) | state, lane (daemon)
//! 64 KiB   stream 0:  tail (client) | retired, completed, error (engine) | waiters (client)
//!          + 4 KiB    128 records of 64 bytes
//!          + 16 KiB   32 KiB of payload, addressed by a free-running offset
//! 128 KiB  stream 1: ...
//! ```
//!
//! # A submit
//! The client writes the payload, the record, then `tail` (release), then sets the stream's bit in the dirty words; if
//! the engine asked to be woken, it writes the doorbell. The engine copies a record and its payload once and works on
//! the copies. A record's slot is free again when `retired` has passed it: until then a replacement engine can still read it.
//!
//! # Completion
//! Submits of a stream carry consecutive values from 1. `completed` is the last value that is over, in order. A failed
//! submit completes too: `failed_at` then holds the first failed value, and everything from there on is void until the
//! client writes an [`RecordKind::Acknowledge`] record.

use crate::limits::{MAX_STREAMS, RING_PAYLOAD_BYTES, RING_RECORDS};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the session page and of each stream's block: a multiple of every page size in use.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of the whole region. It is sparse: streams that are never used cost nothing.
pub const REGION_BYTES: usize = BLOCK_BYTES * (1 + MAX_STREAMS);

/// Offsets in the session page. Lines of 64 bytes have one writer each.
pub mod session {
    /// Words of the dirty bitmap, one bit per stream: `u64`s, set by the client, cleared by the engine.
    pub const DIRTY: usize = 0;
    /// Number of those words.
    pub const DIRTY_WORDS: usize = crate::limits::MAX_STREAMS / 64;
    /// `u32` set by the engine before it stops polling this session: the client must ring.
    pub const NEED_DOORBELL: usize = 64;
    /// `u32` by the engine: how long a waiting client may poll before it sleeps, ns; 0 where cores are scarce.
    pub const SPIN_NS: usize = 68;
    /// `u32` by the engine: counts publications; the futex of a client's reactor.
    pub const ACTIVITY: usize = 72;
    /// `u32` by the client: whether somebody sleeps on the activity word.
    pub const ACTIVITY_WAITERS: usize = 128;
    /// Words of a bitmap of the streams in use, `u64`s by the client: whom to wake when the session ends.
    pub const USED: usize = 136;
    /// `u32` by the daemon: 0 while the session lives, else the [`crate::ErrorCode`] that ended it.
    pub const STATE: usize = 192;
    /// `u32` by the daemon: lane of the session's work, 1 for the lowest; [`DEMOTED`] is added while its work runs in the
    /// next lower one. 0 before the first word of it.
    pub const LANE: usize = 196;
    /// In [`LANE`].
    pub const DEMOTED: u32 = 1 << 8;
}

/// Offsets in a stream's block.
pub mod stream {
    /// `u32` by the client: records written, free-running.
    pub const TAIL: usize = 0;
    /// `u32` by the engine: records whose slots are free again, free-running.
    pub const RETIRED: usize = 64;
    /// `u32` by the engine: payload offset up to which bytes are free again, free-running.
    pub const PAYLOAD_RETIRED: usize = 68;
    /// `u64` by the engine: value of the last completed submit.
    pub const COMPLETED: usize = 72;
    /// `u64` by the engine: first failed value that is not acknowledged, 0 for none. Written before `completed`.
    pub const FAILED_AT: usize = 80;
    /// `u32` by the engine: [`crate::ErrorCode`] of the failure.
    pub const ERROR: usize = 88;
    /// `u32` by the engine: counts completions and acknowledgements of the stream; the futex of waiters.
    pub const SEQUENCE: usize = 92;
    /// `u32` by the client: number of threads asleep on the futex.
    pub const WAITERS: usize = 128;
    /// First record.
    pub const RECORDS: usize = 4096;
    /// First byte of the payload.
    pub const PAYLOAD: usize = 16 * 1024;
}

/// Offset of a stream's block in the region.
pub const fn stream_offset(stream: usize) -> usize {
    BLOCK_BYTES * (1 + stream)
}

/// Offset of a record's slot in its stream's block.
pub const fn record_offset(index: u32) -> usize {
    stream::RECORDS + (index & (RING_RECORDS - 1)) as usize * size_of::<Record>()
}

/// What a record says; 0 is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A whole submit.
    Submit,
    /// A piece of a submit that is larger than the payload region; nothing takes effect yet. Its slot is free as soon as
    /// everything before it has retired.
    Chunk,
    /// The last piece; the submit takes effect whole.
    Last,
    /// The client knows of the stream's failure; submits after this record run again.
    Acknowledge,
}

impl RecordKind {
    /// The number in [`Record::kind`].
    pub const fn number(self) -> u16 {
        match self {
            RecordKind::Submit => 1,
            RecordKind::Chunk => 2,
            RecordKind::Last => 3,
            RecordKind::Acknowledge => 4,
        }
    }
}

impl TryFrom<u16> for RecordKind {
    type Error = ();

    fn try_from(number: u16) -> Result<Self, ()> {
        match number {
            1 => Ok(RecordKind::Submit),
            2 => Ok(RecordKind::Chunk),
            3 => Ok(RecordKind::Last),
            4 => Ok(RecordKind::Acknowledge),
            _ => Err(()),
        }
    }
}

/// Order within and between submits of a stream is by explicit barriers only; without it hazards are tracked by byte range.
pub const FLAG_EXPLICIT: u16 = 1;

/// One record of a submission ring, 64 bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Record {
    /// See [`RecordKind`].
    pub kind: u16,
    /// [`FLAG_EXPLICIT`].
    pub flags: u16,
    /// Commands of the submit, in its first record.
    pub commands: u32,
    /// Value of the submit in its stream.
    pub value: u64,
    /// Free-running offset of the payload piece.
    pub payload_offset: u32,
    /// Bytes of the payload piece.
    pub payload_bytes: u32,
    /// Must be zero.
    pub reserved: [u64; 5],
}

const _: () = assert!(size_of::<Record>() == 64);
const _: () = assert!(RING_RECORDS.is_power_of_two() && RING_PAYLOAD_BYTES.is_power_of_two());
const _: () = assert!(record_offset(RING_RECORDS - 1) + 64 <= stream::PAYLOAD);
const _: () = assert!(stream::PAYLOAD + RING_PAYLOAD_BYTES as usize <= BLOCK_BYTES);
