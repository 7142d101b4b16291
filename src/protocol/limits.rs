//! Every limit of the wire, with unit and derivation. Lengths are compared with them before anything is allocated.

/// One control message, bytes. A Linux SEQPACKET refuses above about 208 KiB; the largest message is far below.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// A client's name, bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 64;
/// An entry point's name, bytes.
pub const MAX_ENTRY_BYTES: usize = 128;
/// Specialization constants of one program.
pub const MAX_SPECIALIZATION: usize = 64;
/// A SPIR-V module, bytes.
pub const MAX_MODULE_BYTES: u64 = 16 << 20;
/// Bindings of one program: the smallest `maxPerStageDescriptorStorageBuffers` of desktop drivers is larger, and one
/// push of descriptors stays within the 32 that `maxPushDescriptors` grants at least.
pub const MAX_BINDINGS: usize = 32;
/// Push constants, bytes (the spec's minimum of 128; drivers with more report it in the device's limits).
pub const MAX_PUSH_BYTES: usize = 256;
/// A refusal's text, bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Streams of a session.
pub const MAX_STREAMS: usize = 256;
/// Records in the ring of one stream; a power of two.
pub const RING_RECORDS: u32 = 128;
/// Payload bytes in the ring of one stream; a power of two.
pub const RING_PAYLOAD_BYTES: u32 = 32 * 1024;
/// One submit, bytes, however many records it is cut into.
pub const MAX_SUBMIT_BYTES: usize = 4 << 20;
/// Pieces of submits that are not complete, all streams of a session together, bytes: the engine holds copies
/// of them. A submit beyond it fails with `LimitReached`.
pub const MAX_PARTIAL_BYTES: usize = 64 << 20;
/// Submits of a session that are complete but not over, bytes of payload: what waits behind a long kernel is the
/// engine's memory. A submit beyond it fails with `LimitReached`.
pub const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Submits of a session that are not over: all that its rings can hold.
pub const MAX_SUBMITS: usize = MAX_STREAMS * RING_RECORDS as usize;
/// Commands of one submit.
pub const MAX_SUBMIT_COMMANDS: usize = 65_536;
/// Bytes of one update command (`vkCmdUpdateBuffer`).
pub const MAX_UPDATE_BYTES: usize = 65_536;

/// Sessions of a daemon; a connection beyond them is refused with `DaemonFull`.
pub const MAX_SESSIONS: usize = 1024;
/// Sessions of one UID other than root: no user may occupy all of [`MAX_SESSIONS`].
pub const MAX_SESSIONS_PER_UID: usize = 768;
/// Groups of sessions of all users.
pub const MAX_GROUPS: usize = 256;
/// The same of one UID other than root.
pub const MAX_GROUPS_PER_UID: usize = 64;
/// Programs of a session.
pub const MAX_PROGRAMS: usize = 4096;
/// Buffers of a session.
pub const MAX_BUFFERS: usize = 65_536;
/// Pieces of memory that one message calls clean.
pub const MAX_SCRUBBED: usize = 256;
/// Shareable buffers of all sessions: the daemon keeps a descriptor of each.
pub const MAX_SHARES: usize = 512;
/// The same of one UID other than root.
pub const MAX_SHARES_PER_UID: usize = 384;
/// Offers of a buffer that stand at one time.
pub const MAX_OFFERS: usize = 64;
/// Handles of others to a shared buffer.
pub const MAX_ATTACHMENTS: usize = 256;
/// Compiled programs the daemon keeps although no session uses them.
pub const MAX_INTERNED_PROGRAMS: usize = 4096;

/// Granularity of buffers inside a chunk, bytes: covers `minStorageBufferOffsetAlignment` of every known driver (256)
/// and keeps neighbours in separate cache lines.
pub const BUFFER_ALIGNMENT: u64 = 256;
/// Granularity of chunks inside an arena, bytes: a multiple of every `minImportedHostPointerAlignment` seen (4 096, and
/// 65 536 on kernels with large pages).
pub const CHUNK_ALIGNMENT: u64 = 64 * 1024;
/// Smallest chunk of shared memory, bytes. A GPU's driver pins all of what it imports, page by page, so the first buffer of
/// a short-lived client should not cost much more than itself; later chunks grow with the session.
pub const SHARED_CHUNK_BYTES: u64 = 256 << 10;
/// Smallest chunk of device memory, bytes.
pub const DEVICE_CHUNK_BYTES: u64 = 16 << 20;
