//! Control messages between the daemon, its engine and its compiler. Both ends are ours, but a crashed driver may send
//! anything: they are decoded as strictly as a client's.

use crate::ErrorCode;
use crate::group::GroupId;
use crate::handle::{BufferId, ChunkId, ProgramHash, ProgramId, SessionId};
use crate::message::{DeviceDescription, Priority};
use crate::program::{Interface, Specialization};
use crate::share::Mode;
use crate::sharing::Grant;
use serde::{Deserialize, Serialize};

/// Where a chunk's memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkSource {
    /// A range of the session's arena, which rides along as a descriptor.
    Arena {
        /// Offset in the arena, bytes.
        offset: u64,
    },
    /// The whole of a memfd, which rides along as a descriptor.
    File,
}

/// From the daemon to the engine. 0 is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToEngine {
    /// Never sent: a packet of zeros is a protocol error, not a message.
    Reserved,
    /// First message. Descriptors: the ledger and the recorder (memfds, see [`crate::ledger`] and [`crate::recorder`]).
    Start,
    /// A session opened. Descriptors: ring region, doorbell.
    AddSession {
        /// Which.
        session: SessionId,
        /// Its slot in the ledger.
        slot: u32,
        /// User it belongs to.
        uid: u32,
        /// Lane of its work.
        priority: Priority,
        /// As in [`ToEngine::SetClientShare`].
        weight: u16,
        /// As in [`ToEngine::SetClientShare`].
        cap_percent: u8,
    },
    /// A session ended: drop what is queued, answer [`FromEngine::SessionRemoved`] when nothing of it is in flight.
    RemoveSession {
        /// Which.
        session: SessionId,
    },
    /// Make memory; answered by [`FromEngine::ChunkReady`] or [`FromEngine::ChunkFailed`]. Carries the memfd for
    /// [`ChunkSource::Arena`] and [`ChunkSource::File`].
    AddChunk {
        /// Owner.
        session: SessionId,
        /// Its name.
        chunk: ChunkId,
        /// Length, bytes.
        bytes: u64,
        /// From where.
        source: ChunkSource,
    },
    /// A chunk is given up; it goes when nothing in flight uses it. Answered by [`FromEngine::ChunkRemoved`] unless the
    /// session ends first.
    RemoveChunk {
        /// Owner.
        session: SessionId,
        /// Which.
        chunk: ChunkId,
    },
    /// A buffer was cut from a chunk, which is the session's or shared by its owner, or from a block. Of a block it takes
    /// the length rounded up to [`crate::limits::BUFFER_ALIGNMENT`]; when it was freed and nothing uses it any more,
    /// [`FromEngine::Scrubbed`] follows. Not answered: it is on its way before the client hears of the buffer.
    AddBuffer {
        /// Owner.
        session: SessionId,
        /// Its handle.
        buffer: BufferId,
        /// Cut from.
        chunk: ChunkId,
        /// Offset in the chunk, bytes.
        offset: u64,
        /// Size, bytes.
        bytes: u64,
        /// Work of a session that may only read is refused if it might write.
        grant: Grant,
    },
    /// A buffer is freed.
    RemoveBuffer {
        /// Owner.
        session: SessionId,
        /// Which.
        buffer: BufferId,
    },
    /// Make a pipeline from a compiled module; answered by [`FromEngine::PipelineReady`] or
    /// [`FromEngine::PipelineFailed`]. Descriptors: the rewritten module, the pipeline cache (may be empty).
    AddPipeline {
        /// Its name across all sessions.
        hash: ProgramHash,
        /// Entry point.
        entry: String,
        /// Reflected interface.
        interface: Interface,
    },
    /// No session knows the pipeline any more.
    RemovePipeline {
        /// Which.
        hash: ProgramHash,
    },
    /// A session may dispatch a pipeline. Not answered.
    AddProgram {
        /// Owner.
        session: SessionId,
        /// Its handle.
        program: ProgramId,
        /// Pipeline behind it.
        hash: ProgramHash,
    },
    /// A session gives a program up.
    RemoveProgram {
        /// Owner.
        session: SessionId,
        /// Which.
        program: ProgramId,
    },
    /// Finish what was submitted so far and exit.
    Stop,
    /// A session's lane changes. Its queued work changes with it; what the device has goes on. Not answered.
    SetPriority {
        /// Which.
        session: SessionId,
        /// Lane of its work from now on.
        priority: Priority,
    },
    /// Answered by [`FromEngine::Pong`].
    Ping {
        /// To come back.
        nonce: u64,
    },
    /// A session's part of its user's device time changes. Not answered.
    SetClientShare {
        /// Which.
        session: SessionId,
        /// Its part against the other sessions of its user, [`crate::share::WEIGHTS`].
        weight: u16,
        /// Most of the device's time that it gets, percent; 100 is no cap.
        cap_percent: u8,
    },
    /// A user's part of the device's time changes. It is said before the first session of the user is added, and again
    /// when one is added after the last one was removed. Not answered.
    SetUserShare {
        /// Whose.
        uid: u32,
        /// Its part against other users, [`crate::share::WEIGHTS`].
        weight: u16,
        /// Most of the device's time that its sessions get together, percent; 100 is no cap.
        cap_percent: u8,
        /// Least of the device's time that its sessions get together while they have work, percent; 0 is none. All
        /// users together have at most 100.
        reserve_percent: u8,
    },
    /// How the device's time is shared; said to a new engine before its first session. Not answered.
    SetPolicy {
        /// By which rule.
        mode: Mode,
        /// Loop iterations of a slice of a shader.
        loop_slice_quota: u64,
        /// Device time that a [`Priority::Realtime`] session may use as such in each period, microseconds.
        realtime_budget_us: u32,
        /// The period, microseconds.
        realtime_period_us: u32,
    },
    /// How many things of a session the engine lets in. Not answered.
    SetSessionLimits {
        /// Which.
        session: SessionId,
        /// Streams, by their index: 1 to [`crate::limits::MAX_STREAMS`].
        streams: u32,
        /// Submits that are not over; one beyond it fails with `LimitReached`.
        submits: u32,
    },
    /// Make a block of device memory and clear it; answered by [`FromEngine::BlockReady`] or [`FromEngine::BlockFailed`].
    AddBlock {
        /// Its name; no chunk has it.
        chunk: ChunkId,
        /// Length, bytes.
        bytes: u64,
    },
    /// A block is given up; it goes when nothing in flight uses it. Answered by [`FromEngine::BlockRemoved`].
    RemoveBlock {
        /// Which.
        chunk: ChunkId,
    },
    /// A session has a cap together with all others of its group, besides that of its own; said once, after it was added.
    /// Not answered.
    JoinGroup {
        /// Which.
        session: SessionId,
        /// Its group.
        group: GroupId,
        /// Most of the device's time that they get together, percent; 100 is no cap.
        cap_percent: u8,
    },
}

impl ToEngine {
    /// Descriptors that the message carries.
    pub fn descriptors(&self) -> usize {
        match self {
            ToEngine::AddChunk {
                source: ChunkSource::Arena { .. } | ChunkSource::File,
                ..
            } => 1,
            ToEngine::Start | ToEngine::AddSession { .. } | ToEngine::AddPipeline { .. } => 2,
            _ => 0,
        }
    }
}

/// How the hardware queues of a device stand to those of other processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ranks {
    /// One for each queue.
    pub global: Vec<GlobalPriority>,
    /// What the driver did not grant, in words, for the log.
    pub refusals: Vec<String>,
}

/// The priority of a hardware queue among all on the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GlobalPriority {
    /// What every process has.
    Medium,
    /// Above it.
    High,
    /// Above everything.
    Realtime,
}

impl GlobalPriority {
    /// Its name on the bus and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::High => "high",
            Self::Realtime => "realtime",
        }
    }
}

/// From the engine. 0 is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromEngine {
    /// Never sent: a packet of zeros is a protocol error, not a message.
    Reserved,
    /// The device is open.
    Ready {
        /// It.
        device: DeviceDescription,
        /// Extensions in use, for the log.
        extensions: Vec<String>,
        /// Checks of the engine's sandbox that failed and are only warned of.
        warnings: Vec<String>,
        /// `maxMemoryAllocationCount`: pieces of memory there can be at one time.
        max_allocations: u32,
        /// Its hardware queues.
        ranks: Ranks,
    },
    /// The device cannot be used; the engine exits.
    StartFailed {
        /// In words.
        text: String,
    },
    /// Nothing of the session is in flight, its memory is gone.
    SessionRemoved {
        /// Which.
        session: SessionId,
    },
    /// A chunk is there. Carries the exported memory when `exported`.
    ChunkReady {
        /// Owner.
        session: SessionId,
        /// Which.
        chunk: ChunkId,
        /// Whether a descriptor rides along.
        exported: bool,
    },
    /// A chunk could not be made.
    ChunkFailed {
        /// Owner.
        session: SessionId,
        /// Which.
        chunk: ChunkId,
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// A pipeline is there.
    PipelineReady {
        /// Which.
        hash: ProgramHash,
    },
    /// A pipeline could not be made.
    PipelineFailed {
        /// Which.
        hash: ProgramHash,
        /// In words.
        text: String,
    },
    /// The session broke the protocol in its ring; it must be ended.
    SessionFault {
        /// Which.
        session: SessionId,
        /// In words.
        text: String,
    },
    /// A submit was refused; the session goes on. For the log, rate-limited by the engine.
    SubmitRefused {
        /// Whose.
        session: SessionId,
        /// Stream and value of the submit.
        stream: u32,
        /// Value of the submit in its stream.
        value: u64,
        /// Why.
        code: ErrorCode,
        /// How many more of this session were not reported since the last report.
        suppressed: u32,
    },
    /// The device is lost; the engine exits.
    DeviceLost {
        /// In words.
        text: String,
    },
    /// Answer to [`ToEngine::Ping`], from the loop that serves the queues: what it proves is that this loop turns.
    Pong {
        /// Of the ping.
        nonce: u64,
    },
    /// A [`Priority::Realtime`] session has used its budget of this period up and runs as [`Priority::High`] from now on,
    /// or has its lane again.
    Demoted {
        /// Which.
        session: SessionId,
        /// Whether its work runs in the lower lane now.
        demoted: bool,
    },
    /// A chunk is gone: the device has its memory back, and the host the pages of an arena, which read as zeros.
    ChunkRemoved {
        /// Owner.
        session: SessionId,
        /// Which.
        chunk: ChunkId,
    },
    /// A block is there, and zero.
    BlockReady {
        /// Which.
        chunk: ChunkId,
    },
    /// A block could not be made.
    BlockFailed {
        /// Which.
        chunk: ChunkId,
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// The device has the memory of a block back.
    BlockRemoved {
        /// Which.
        chunk: ChunkId,
    },
    /// Pieces of a block are zero again: their buffers are freed, and no work uses them.
    Scrubbed {
        /// Which.
        chunk: ChunkId,
        /// Where each began, at most [`crate::limits::MAX_SCRUBBED`] of them.
        offsets: Vec<u64>,
    },
}

impl FromEngine {
    /// Descriptors that the message carries.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(
            self,
            FromEngine::ChunkReady { exported: true, .. }
        ))
    }
}

/// From the daemon to a compiler. 0 is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCompiler {
    /// Never sent: a packet of zeros is a protocol error, not a message.
    Reserved,
    /// Check, rewrite and compile a module (one descriptor). Answered by [`FromCompiler::Taken`] and, in the end, by one of
    /// the others.
    Compile {
        /// Name of the result.
        hash: ProgramHash,
        /// Entry point.
        entry: String,
        /// Bytes of the module.
        module_bytes: u64,
        /// Constants to specialize.
        specialization: Vec<Specialization>,
    },
}

impl ToCompiler {
    /// Descriptors that the message carries.
    pub fn descriptors(&self) -> usize {
        1
    }
}

/// From a compiler. 0 is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCompiler {
    /// Never sent: a packet of zeros is a protocol error, not a message.
    Reserved,
    /// Descriptors: the rewritten module, the pipeline cache (may be empty).
    Compiled {
        /// Which.
        hash: ProgramHash,
        /// Its interface.
        interface: Interface,
    },
    /// No.
    Refused {
        /// Which.
        hash: ProgramHash,
        /// `InvalidModule` or `CompileFailed`.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// The device is open and the module is next: a compiler that dies from now on until its answer died on the module. One
    /// that dies before says nothing about it.
    Taken {
        /// Which.
        hash: ProgramHash,
    },
}

impl FromCompiler {
    /// Descriptors that the message carries.
    pub fn descriptors(&self) -> usize {
        if matches!(self, FromCompiler::Compiled { .. }) {
            2
        } else {
            0
        }
    }
}
