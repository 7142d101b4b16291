//! Control messages between a client and the daemon.

use crate::ErrorCode;
use crate::group::{GroupId, OpenGroup};
use crate::handle::{BufferId, ChunkId, ProgramId, SessionId};
use crate::program::{Interface, Specialization};
use crate::quota::{Excess, Quota, Wish};
use crate::sharing::{Audience, Grant, ShareName};
use crate::token::{Pass, Token};
use serde::{Deserialize, Serialize};

/// Priority of a session's work.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub enum Priority {
    /// Whenever nobody else has work.
    Low,
    /// The default.
    #[default]
    Medium,
    /// Before the others.
    High,
    /// Before everyone; policy may refuse it.
    Realtime,
}

impl Priority {
    /// All, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Realtime];

    /// Its name for people: in the configuration, on the bus, in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Realtime => "realtime",
        }
    }
}

/// First message of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::MAGIC`].
    pub magic: u32,
    /// [`crate::VERSION_MAJOR`].
    pub version: u16,
    /// Bits of optional features the client knows; none are defined yet.
    pub features: u64,
    /// Priority asked for.
    pub priority: Priority,
    /// Shown to administrators; at most [`crate::limits::MAX_NAME_BYTES`].
    pub name: String,
    /// Limits it sets itself.
    pub wish: Wish,
    /// The group that it belongs to.
    pub group: Option<Token>,
    /// What the administrator gave to all who may connect, where that is asked for.
    pub pass: Option<Pass>,
}

/// From a client. 0 is reserved: a zeroed packet is no message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Never sent: a packet of zeros is a protocol error, not a message.
    Reserved,
    /// Opens the session; legal once, first. Answer: [`DaemonMessage::Welcome`] or [`DaemonMessage::Refused`].
    Hello(Hello),
    /// Registers a program; carries one descriptor, a memfd that holds the module. Answer:
    /// [`DaemonMessage::ProgramReady`] or [`DaemonMessage::Failed`] (`InvalidModule`, `CompileFailed`, `CompileTimeout`,
    /// `LimitReached`).
    RegisterProgram {
        /// Entry point, a `GLCompute` one.
        entry: String,
        /// Bytes of the module in the descriptor.
        module_bytes: u64,
        /// Constants to specialize.
        specialization: Vec<Specialization>,
    },
    /// Gives a program up. Answer: [`DaemonMessage::Done`] or `InvalidHandle`.
    ReleaseProgram {
        /// Which.
        program: ProgramId,
    },
    /// Allocates zeroed memory. Answer: [`DaemonMessage::BufferReady`] or [`DaemonMessage::Failed`]
    /// (`OutOfDeviceMemory`, `OutOfHostMemory`, `LimitReached`, `InvalidArgument`).
    AllocateBuffer {
        /// Size, bytes; not 0.
        bytes: u64,
        /// Where.
        class: MemoryClass,
    },
    /// Frees a buffer; submits that use it must have completed. Answer: [`DaemonMessage::Done`] or `InvalidHandle`.
    FreeBuffer {
        /// Which.
        buffer: BufferId,
    },
    /// Asks what the session may have and has. Answer: [`DaemonMessage::Quota`].
    QueryQuota,
    /// Allocates zeroed shared memory with a file of its own, which can be offered to others. Answer:
    /// [`DaemonMessage::ShareReady`] or [`DaemonMessage::Failed`] as for [`ClientMessage::AllocateBuffer`].
    AllocateShareable {
        /// Size, bytes; not 0.
        bytes: u64,
    },
    /// Offers a shareable buffer; an offer to the same audience replaces the earlier one. Those who attached already keep
    /// what they got. Answer: [`DaemonMessage::Done`] or [`DaemonMessage::Failed`] (`InvalidHandle`, `Unsupported` for a
    /// buffer that is not shareable, `LimitReached`).
    OfferBuffer {
        /// An own one.
        buffer: BufferId,
        /// For whom.
        audience: Audience,
        /// As what.
        grant: Grant,
    },
    /// Attaches to a buffer that was offered. Answer: [`DaemonMessage::ShareReady`] or [`DaemonMessage::Failed`]
    /// (`PermissionDenied` where there is no such offer for this client, `LimitReached`).
    AttachBuffer {
        /// Which.
        name: ShareName,
        /// For an offer to its holder.
        token: Option<Token>,
    },
    /// Opens a group instead of a session; legal once, first, and nothing may follow. The group lives as long as the
    /// connection. Answer: [`DaemonMessage::GroupOpened`] or [`DaemonMessage::Refused`], which comes as well when the
    /// group ends before the connection.
    OpenGroup(OpenGroup),
}

impl ClientMessage {
    /// Descriptors that the message carries.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self, ClientMessage::RegisterProgram { .. }))
    }
}

/// Where a buffer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MemoryClass {
    /// The client maps what the device reads.
    Shared,
    /// In the device's own memory; on a unified device this is [`MemoryClass::Shared`].
    Device,
}

/// The daemon's device, as clients need to know it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceDescription {
    /// `VkPhysicalDeviceProperties::deviceName`.
    pub name: String,
    /// Driver name and version text.
    pub driver: String,
    /// `VkPhysicalDeviceIDProperties::deviceUUID`.
    pub uuid: [u8; 16],
    /// Whether device memory is host memory: everything is [`MemoryClass::Shared`].
    pub unified: bool,
    /// Whether the device computes on the host's cores.
    pub cpu: bool,
    /// Workgroups of a dispatch, by dimension.
    pub max_groups: [u32; 3],
    /// Bytes of push constants.
    pub max_push_bytes: u32,
    /// Alignment of storage-buffer offsets, bytes.
    pub storage_alignment: u32,
    /// Bytes a storage binding may cover.
    pub max_storage_range: u64,
    /// Bytes a uniform binding may cover.
    pub max_uniform_range: u64,
    /// Alignment of uniform-buffer offsets, bytes.
    pub uniform_alignment: u32,
    /// Device memory, bytes.
    pub device_memory_bytes: u64,
    /// Host memory the device can address, bytes.
    pub host_memory_bytes: u64,
    /// Hardware queues the engine drives.
    pub queues: u32,
}

/// Where the pages of a shared buffer are, and how they behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMapping {
    /// Chunk that the buffer was cut from; clients map it as one.
    pub chunk: ChunkId,
    /// Offset of the chunk in the arena, bytes.
    pub chunk_offset: u64,
    /// Length of the chunk, bytes.
    pub chunk_bytes: u64,
    /// Offset of the buffer in the chunk, bytes.
    pub offset: u64,
    /// Whether host and device see each other's writes without flushes; always, so far.
    pub coherent: bool,
    /// Whether the range may hold bytes of an earlier buffer of this same session; its owner clears it if it matters.
    pub reused: bool,
}

/// From the daemon. 0 is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DaemonMessage {
    /// Never sent: a packet of zeros is a protocol error, not a message.
    Reserved,
    /// The session is open. Carries two descriptors: the session's ring region (memfd, see [`crate::ring`]) and its
    /// doorbell (eventfd).
    Welcome {
        /// Its name.
        session: SessionId,
        /// Feature bits that both sides know.
        features: u64,
        /// Priority granted; at most the one asked for.
        priority: Priority,
        /// The device.
        device: DeviceDescription,
        /// What the session may have; some of it may change while it lasts.
        quota: Quota,
    },
    /// No session; the socket is closed after it.
    Refused {
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// A request failed and changed nothing.
    Failed {
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
        /// The limit it would have broken, for [`ErrorCode::LimitReached`] of one that has numbers.
        excess: Option<Excess>,
    },
    /// A request is done.
    Done,
    /// A program is compiled and can be dispatched.
    ProgramReady {
        /// Its handle.
        program: ProgramId,
        /// What its dispatches must bring.
        interface: Interface,
    },
    /// A buffer is allocated. Carries the arena (memfd) when `mapping` is the first one of the session.
    BufferReady {
        /// Its handle.
        buffer: BufferId,
        /// Set for shared memory.
        mapping: Option<SharedMapping>,
        /// Whether the arena rides along.
        with_arena: bool,
        /// For device memory: whether the range may hold bytes of an earlier buffer of this session.
        reused: bool,
    },
    /// What the session may have and has.
    Quota(Quota),
    /// A handle to a shared buffer. Carries its file, which the owner and those who may write can write through.
    ShareReady {
        /// The handle; it resolves until it is freed, or the owner frees the buffer or goes.
        buffer: BufferId,
        /// Size, bytes.
        bytes: u64,
        /// What its user may do.
        grant: Grant,
    },
    /// The group is open.
    GroupOpened {
        /// Its name.
        group: GroupId,
    },
}

impl DaemonMessage {
    /// Descriptors that the message carries.
    pub fn descriptors(&self) -> usize {
        match self {
            DaemonMessage::Welcome { .. } => 2,
            DaemonMessage::BufferReady {
                with_arena: true, ..
            }
            | DaemonMessage::ShareReady { .. } => 1,
            _ => 0,
        }
    }
}
