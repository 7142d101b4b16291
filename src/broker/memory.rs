//! The memory of one session: an arena, chunks cut from it or from the device, buffers cut from chunks.

use crate::blocks::Piece;
use crate::ranges::Ranges;
use std::collections::BTreeMap;
use vkmps_protocol::engine::ChunkSource;
use vkmps_protocol::handle::{BufferId, ChunkId, Table};
use vkmps_protocol::limits::{
    BUFFER_ALIGNMENT, CHUNK_ALIGNMENT, DEVICE_CHUNK_BYTES, SHARED_CHUNK_BYTES,
};
use vkmps_protocol::message::{MemoryClass, SharedMapping};
use vkmps_protocol::quota::Amount;
use vkmps_protocol::sharing::ShareName;

/// Chunks and buffers of a session. Sizes inside are rounded; what a client asked for is not kept.
#[derive(Debug)]
pub(crate) struct Memory {
    arena: Ranges,
    /// Chunks there were.
    next_number: u64,
    chunks: BTreeMap<ChunkId, Chunk>,
    /// Bytes of all chunks.
    bytes: MemoryBytes,
    buffers: Table<Buffer>,
    /// Of these, somebody else's.
    attached: usize,
    /// Whether the arena memfd exists, and whether the client has it.
    pub(crate) arena_created: bool,
    pub(crate) arena_sent: bool,
}

/// Bytes by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryBytes {
    /// In the device's own memory; none on a unified device.
    pub device: u64,
    /// In memory that clients map.
    pub shared: u64,
}

/// Where a chunk's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// In the session's arena.
    Arena,
    /// In the device's memory.
    Device,
    /// In a file of its own, for one buffer that may be shared.
    Own,
}

#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) home: Home,
    pub(crate) bytes: u64,
    /// As its session's client knows it: numbers of all sessions would tell what the others do.
    number: u64,
    /// Offset in the arena, 0 elsewhere.
    pub(crate) arena_offset: u64,
    ranges: Ranges,
    stage: Stage,
}

/// Life of a chunk. It counts in all of it: it is somebody's until the engine says that it is not there (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Asked of the engine.
    Asked,
    /// Buffers are cut from it.
    Ready,
    /// Given up; work in flight may use it still.
    Leaving,
}

#[derive(Debug)]
enum Buffer {
    /// Cut from a chunk of the session.
    Cut {
        chunk: ChunkId,
        offset: u64,
        /// Rounded.
        bytes: u64,
    },
    /// Cut from a block of the session's user.
    Pooled(Piece),
    /// The same, of a session that closes: what it takes until the engine has let go of the session.
    Drained(u64),
    /// Somebody else's, or a second handle to an own one.
    Attached(ShareName),
}

/// What a handle that was given back stood for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Freed {
    /// A private buffer, and the chunk that became superfluous, if one did.
    Private(Option<ChunkId>),
    /// A private one of a block.
    Pooled(Piece),
    /// A shareable one, with its chunk.
    Shareable(ChunkId),
    /// Somebody else's.
    Attached(ShareName),
}

/// A buffer that was just cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) buffer: BufferId,
    pub(crate) chunk: ChunkId,
    pub(crate) offset: u64,
    pub(crate) mapping: Option<SharedMapping>,
}

impl Home {
    /// Of private buffers of a class.
    pub(crate) fn of(class: MemoryClass) -> Self {
        match class {
            MemoryClass::Shared => Home::Arena,
            MemoryClass::Device => Home::Device,
        }
    }

    /// As what it counts.
    pub(crate) fn class(self) -> MemoryClass {
        match self {
            Home::Arena | Home::Own => MemoryClass::Shared,
            Home::Device => MemoryClass::Device,
        }
    }
}

impl Chunk {
    /// Where the engine finds its pages.
    pub(crate) fn source(&self) -> ChunkSource {
        match self.home {
            // Blocks of the device are no chunks of a session.
            Home::Arena | Home::Device => ChunkSource::Arena {
                offset: self.arena_offset,
            },
            Home::Own => ChunkSource::File,
        }
    }

    pub(crate) fn class(&self) -> MemoryClass {
        self.home.class()
    }

    fn is_idle(&self) -> bool {
        self.home != Home::Own && self.stage == Stage::Ready && self.ranges.used() == 0
    }
}

impl Memory {
    pub(crate) fn new(arena_bytes: u64) -> Self {
        Self {
            arena: Ranges::new(arena_bytes / CHUNK_ALIGNMENT * CHUNK_ALIGNMENT),
            next_number: 0,
            chunks: BTreeMap::new(),
            bytes: MemoryBytes::default(),
            buffers: Table::default(),
            attached: 0,
            arena_created: false,
            arena_sent: false,
        }
    }

    pub(crate) fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Class and size of a buffer; the size is rounded.
    pub(crate) fn buffer(&self, buffer: BufferId) -> Option<(MemoryClass, u64)> {
        self.charged(self.buffers.get(buffer.0)?)
    }

    /// What a buffer counts as. Somebody else's is that one's.
    fn charged(&self, buffer: &Buffer) -> Option<(MemoryClass, u64)> {
        match buffer {
            Buffer::Cut { chunk, bytes, .. } => Some((self.chunks.get(chunk)?.class(), *bytes)),
            Buffer::Pooled(piece) => Some((MemoryClass::Device, piece.bytes)),
            Buffer::Drained(bytes) => Some((MemoryClass::Device, *bytes)),
            Buffer::Attached(_) => None,
        }
    }

    /// Sizes of all buffers.
    pub(crate) fn buffer_bytes(&self) -> MemoryBytes {
        let mut bytes = MemoryBytes::default();
        for (_, buffer) in self.buffers.iter() {
            if let Some((class, charged)) = self.charged(buffer) {
                *bytes.of_mut(class) += charged;
            }
        }
        bytes
    }

    pub(crate) fn chunk(&self, id: ChunkId) -> Option<&Chunk> {
        self.chunks.get(&id)
    }

    /// Bytes of a class that the session takes: of shared memory by chunks, of the device's by buffers.
    pub(crate) fn chunk_bytes(&self, class: MemoryClass) -> u64 {
        self.bytes.of(class)
    }

    /// The same of both classes.
    pub(crate) fn bytes(&self) -> MemoryBytes {
        self.bytes
    }

    /// Size of the chunk that a request of `bytes` (rounded) calls for: chunks grow with what the session has, so that
    /// a few hundred of them hold whatever a device has. `None` where the request alone is beyond any memory.
    pub(crate) fn next_chunk_bytes(&self, home: Home, bytes: u64) -> Option<u64> {
        if home == Home::Own {
            return bytes.checked_next_multiple_of(CHUNK_ALIGNMENT);
        }
        let class = home.class();
        grown(self.chunk_bytes(class), class, bytes)
    }

    /// Makes room for a chunk; the engine does not know of it yet. `None` when the arena is full.
    pub(crate) fn add_chunk(&mut self, id: ChunkId, home: Home, bytes: u64) -> Option<()> {
        let arena_offset = match home {
            Home::Arena => self.arena.allocate(bytes)?.offset,
            Home::Device => return None,
            Home::Own => 0,
        };
        let ranges = Ranges::new(bytes);
        *self.bytes.of_mut(home.class()) += bytes;
        self.next_number += 1;
        self.chunks.insert(
            id,
            Chunk {
                home,
                bytes,
                number: self.next_number,
                arena_offset,
                ranges,
                stage: Stage::Asked,
            },
        );
        Some(())
    }

    pub(crate) fn chunk_is_ready(&mut self, id: ChunkId) {
        if let Some(chunk) = self.chunks.get_mut(&id) {
            chunk.stage = Stage::Ready;
        }
    }

    /// Gives up a chunk that holds no buffer: no buffer is cut from it any more.
    pub(crate) fn chunk_leaves(&mut self, id: ChunkId) {
        if let Some(chunk) = self.chunks.get_mut(&id) {
            debug_assert_eq!(chunk.ranges.used(), 0);
            chunk.stage = Stage::Leaving;
        }
    }

    /// Whether it is given up and not gone.
    pub(crate) fn is_leaving(&self, id: ChunkId) -> bool {
        let chunk = self.chunks.get(&id);
        chunk.is_some_and(|chunk| chunk.stage == Stage::Leaving)
    }

    /// Bytes and number of the chunks that were given up and are not gone.
    pub(crate) fn leaving(&self) -> (u64, usize) {
        let leaving = self.chunks.values().filter(|c| c.stage == Stage::Leaving);
        leaving.fold((0, 0), |sum, chunk| (sum.0 + chunk.bytes, sum.1 + 1))
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Forgets a chunk that is gone, or never was.
    pub(crate) fn remove_chunk(&mut self, id: ChunkId) -> Option<Chunk> {
        let chunk = self.chunks.remove(&id)?;
        debug_assert_eq!(chunk.ranges.used(), 0);
        *self.bytes.of_mut(chunk.class()) -= chunk.bytes;
        if chunk.home == Home::Arena {
            self.arena.release(chunk.arena_offset, chunk.bytes);
        }
        Some(chunk)
    }

    /// Cuts a buffer of `bytes` (rounded) from a chunk that has room.
    pub(crate) fn place(&mut self, bytes: u64) -> Option<Placed> {
        let (chunk_id, chunk, range) = self
            .chunks
            .iter_mut()
            .filter(|(_, chunk)| chunk.home == Home::Arena && chunk.stage == Stage::Ready)
            .find_map(|(id, chunk)| {
                let range = chunk.ranges.allocate(bytes)?;
                Some((*id, &*chunk, range))
            })?;
        let mapping = Some(SharedMapping {
            chunk: ChunkId(chunk.number),
            chunk_offset: chunk.arena_offset,
            chunk_bytes: chunk.bytes,
            offset: range.offset,
            coherent: true,
            reused: range.reused,
        });
        let buffer = self.buffers.insert(Buffer::Cut {
            chunk: chunk_id,
            offset: range.offset,
            bytes,
        });
        Some(Placed {
            buffer: BufferId(buffer),
            chunk: chunk_id,
            offset: range.offset,
            mapping,
        })
    }

    /// Takes the whole of a chunk that was made for one buffer.
    pub(crate) fn place_in(&mut self, id: ChunkId, bytes: u64) -> Option<BufferId> {
        let chunk = self.chunks.get_mut(&id)?;
        let offset = chunk.ranges.allocate(bytes)?.offset;
        Some(BufferId(self.buffers.insert(Buffer::Cut {
            chunk: id,
            offset,
            bytes,
        })))
    }

    /// Frees a buffer. `None` for a handle that does not resolve.
    pub(crate) fn free(&mut self, buffer: BufferId) -> Option<Freed> {
        let (id, offset, bytes) = match self.buffers.remove(buffer.0)? {
            Buffer::Cut {
                chunk,
                offset,
                bytes,
            } => (chunk, offset, bytes),
            Buffer::Pooled(piece) => {
                self.bytes.device -= piece.bytes;
                return Some(Freed::Pooled(piece));
            }
            Buffer::Drained(_) => return None,
            Buffer::Attached(name) => {
                self.attached -= 1;
                return Some(Freed::Attached(name));
            }
        };
        let chunk = self.chunks.get_mut(&id)?;
        chunk.ranges.release(offset, bytes);
        if chunk.home == Home::Own {
            return Some(Freed::Shareable(id));
        }
        Some(Freed::Private(self.superfluous(id)))
    }

    /// Whether the session has a buffer.
    pub(crate) fn has(&self, buffer: BufferId) -> bool {
        self.buffers.get(buffer.0).is_some()
    }

    /// A handle to somebody's buffer.
    pub(crate) fn attach(&mut self, name: ShareName) -> BufferId {
        self.attached += 1;
        BufferId(self.buffers.insert(Buffer::Attached(name)))
    }

    /// The handle resolves to nothing any more.
    pub(crate) fn detach(&mut self, buffer: BufferId) {
        self.attached -= usize::from(self.buffers.remove(buffer.0).is_some());
    }

    /// Number of its handles to somebody else's buffers.
    pub(crate) fn attachments(&self) -> usize {
        self.attached
    }

    /// All handles to somebody else's buffers.
    pub(crate) fn all_attached(&self) -> impl Iterator<Item = (BufferId, ShareName)> {
        let attached = |(handle, buffer): (u64, &Buffer)| match buffer {
            Buffer::Attached(name) => Some((BufferId(handle), *name)),
            _ => None,
        };
        self.buffers.iter().filter_map(attached)
    }

    /// A buffer that was cut from a block.
    pub(crate) fn keep_piece(&mut self, piece: Piece) -> BufferId {
        self.bytes.device += piece.bytes;
        BufferId(self.buffers.insert(Buffer::Pooled(piece)))
    }

    /// What its buffers take of blocks.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.buffers.iter().filter_map(|(_, buffer)| match buffer {
            Buffer::Pooled(piece) => Some(*piece),
            _ => None,
        })
    }

    /// The session closes: its pieces of blocks are the engine's to clean.
    pub(crate) fn drain_pieces(&mut self) -> Vec<Piece> {
        let pieces = self.pieces().collect();
        for buffer in self.buffers.iter_mut() {
            if let Buffer::Pooled(piece) = buffer {
                *buffer = Buffer::Drained(piece.bytes);
            }
        }
        pieces
    }

    /// A chunk that need not stay, after one has lost a buffer.
    fn superfluous(&self, id: ChunkId) -> Option<ChunkId> {
        let chunk = self.chunks.get(&id).filter(|chunk| chunk.is_idle())?;
        let (class, freed_bytes) = (chunk.class(), chunk.bytes);
        let other = self
            .of_class(class)
            .find(|(other, chunk)| *other != id && chunk.is_idle());
        match other {
            // One idle chunk of a class stays for the next buffer: the smaller one.
            Some((other, other_chunk)) if other_chunk.bytes > freed_bytes => Some(other),
            Some(_) => Some(id),
            None => (freed_bytes > MAX_GROWTH_BYTES).then_some(id),
        }
    }

    /// Chunks that hold no buffer.
    pub(crate) fn idle_chunks(&self, class: MemoryClass) -> Vec<ChunkId> {
        self.of_class(class)
            .filter(|(_, chunk)| chunk.is_idle())
            .map(|(id, _)| id)
            .collect()
    }

    /// # Panics
    /// If the bookkeeping contradicts itself.
    pub(crate) fn verify_invariants(&self) {
        self.arena.verify_invariants();
        let in_arena = self.chunks.values().filter(|c| c.home == Home::Arena);
        assert_eq!(self.arena.used(), in_arena.map(|c| c.bytes).sum::<u64>());
        assert!(self.arena_created || !self.arena_sent);
        let shared: u64 = self.chunks.values().map(|chunk| chunk.bytes).sum();
        assert_eq!(self.bytes.shared, shared);
        assert_eq!(self.bytes.device, self.buffer_bytes().device);
        assert_eq!(self.attached, self.all_attached().count());
        for (id, chunk) in &self.chunks {
            chunk.ranges.verify_invariants();
            let of_chunk = self.buffers.iter().filter_map(|(_, buffer)| match buffer {
                Buffer::Cut { chunk, bytes, .. } if chunk == id => Some(*bytes),
                _ => None,
            });
            assert_eq!(chunk.ranges.used(), of_chunk.sum::<u64>());
        }
        let has_chunk = |buffer: &Buffer| match buffer {
            Buffer::Cut { chunk, .. } => self.chunks.contains_key(chunk),
            Buffer::Pooled(_) | Buffer::Drained(_) | Buffer::Attached(_) => true,
        };
        assert!(self.buffers.iter().all(|(_, buffer)| has_chunk(buffer)));
    }

    fn of_class(&self, class: MemoryClass) -> impl Iterator<Item = (ChunkId, &Chunk)> {
        self.chunks
            .iter()
            .filter(move |(_, c)| c.class() == class)
            .map(|(id, chunk)| (*id, chunk))
    }
}

impl MemoryBytes {
    /// Of one class.
    pub fn of(self, class: MemoryClass) -> u64 {
        match class {
            MemoryClass::Device => self.device,
            MemoryClass::Shared => self.shared,
        }
    }

    /// An amount of each class.
    pub(crate) fn part(self, amount: Amount) -> Self {
        Self {
            device: amount.of(self.device),
            shared: amount.of(self.shared),
        }
    }

    /// The lesser of each class.
    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            device: self.device.min(other.device),
            shared: self.shared.min(other.shared),
        }
    }

    pub(crate) fn of_mut(&mut self, class: MemoryClass) -> &mut u64 {
        match class {
            MemoryClass::Device => &mut self.device,
            MemoryClass::Shared => &mut self.shared,
        }
    }
}

/// What the device and the host have for chunks, and what all sessions took of it.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    pub(crate) device: Pool,
    pub(crate) shared: Pool,
    /// Pieces of memory, whatever their class: drivers have a number of them that they cannot exceed.
    pub(crate) chunks: Pieces,
}

/// Chunks of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) limit: usize,
    pub(crate) used: usize,
}

/// Bytes of one class.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) limit_bytes: u64,
    pub(crate) used_bytes: u64,
}

impl Budget {
    pub(crate) fn pool(&mut self, class: MemoryClass) -> &mut Pool {
        match class {
            MemoryClass::Shared => &mut self.shared,
            MemoryClass::Device => &mut self.device,
        }
    }
}

impl Pieces {
    /// Of a device that allows so many; the engine's own come first.
    pub(crate) fn of_device(max_allocations: u32) -> Self {
        let limit = max_allocations.saturating_sub(ENGINE_ALLOCATIONS);
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: 0,
        }
    }

    /// What one user may have of them; the others have the rest for themselves.
    pub(crate) fn of_user(&self) -> usize {
        self.limit / 4 * 3
    }
}

impl Pool {
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.limit_bytes.saturating_sub(self.used_bytes) >= bytes
    }
}

/// The size a request really takes; `None` beyond `u64`.
pub(crate) fn rounded(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(BUFFER_ALIGNMENT)
}

/// Size of a new chunk or block for a request of `bytes` (rounded) of who has so much of a class.
pub(crate) fn grown(has: u64, class: MemoryClass, bytes: u64) -> Option<u64> {
    let growth = (has / 2).clamp(smallest_chunk(class), MAX_GROWTH_BYTES);
    growth.max(bytes).checked_next_multiple_of(CHUNK_ALIGNMENT)
}

fn smallest_chunk(class: MemoryClass) -> u64 {
    match class {
        MemoryClass::Shared => SHARED_CHUNK_BYTES,
        MemoryClass::Device => DEVICE_CHUNK_BYTES,
    }
}

/// Pieces of memory that the engine needs for itself: a few for each batch in flight.
const ENGINE_ALLOCATIONS: u32 = 128;
/// A chunk larger than this was made for one buffer, and goes with it.
pub(crate) const MAX_GROWTH_BYTES: u64 = 256 << 20;
