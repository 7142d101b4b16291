//! Blocks of device memory: made, cut into buffers, cleaned in the background.
//!
//! A piece is dirty once its buffer is freed and no job holds it any more: the last of them to go says so by dropping a
//! [`Lease`]. Then the device fills it with zeros, a bounded part at a time, so that cleaning gigabytes delays others'
//! work by little; new blocks are cleared the same way. vkmpsd hands out what was said to be clean, and nothing else.

use crate::builder::code;
use crate::engine::{Engine, Failure, Flight, Purpose};
use crate::session::Buffer;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use vkmps_gpu::{Batch, Error, Memory, Timing};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::FromEngine;
use vkmps_protocol::handle::ChunkId;
use vkmps_protocol::limits::{BUFFER_ALIGNMENT, MAX_SCRUBBED};
use vkmps_protocol::sharing::Grant;

/// All blocks, and what is to be cleaned of them.
#[derive(Debug)]
pub(crate) struct Blocks {
    ready: HashMap<ChunkId, Arc<Memory>>,
    /// From those who use pieces.
    freed: (Sender<Piece>, Receiver<Piece>),
    dirty: VecDeque<Dirty>,
    /// Whether the device cleans at the moment.
    cleaning: bool,
    /// There was no memory to record it with: not before this.
    not_before: Duration,
    /// Names of parts in hazards: no chunk has them.
    next_name: u64,
}

/// A piece of a block that a buffer has, or had.
#[derive(Debug, Clone, Copy)]
struct Piece {
    block: ChunkId,
    offset: u64,
    bytes: u64,
}

/// Held by everything that uses a piece.
#[derive(Debug)]
pub(crate) struct Lease {
    piece: Piece,
    freed: Sender<Piece>,
}

/// What is to be cleaned.
#[derive(Debug)]
struct Dirty {
    block: ChunkId,
    memory: Arc<Memory>,
    /// How vkmpsd knows the piece, `None` for a whole new block.
    name: Option<u64>,
    /// The rest of it.
    offset: u64,
    bytes: u64,
}

/// What a batch has cleaned to its end.
#[derive(Debug)]
pub(crate) enum Clean {
    /// A new block.
    Block(ChunkId, Arc<Memory>),
    /// A piece that was used.
    Piece(ChunkId, u64),
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The engine holds the other end as long as there is anything to be cleaned for.
        let _ = self.freed.send(self.piece);
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            ready: HashMap::new(),
            freed: channel(),
            dirty: VecDeque::new(),
            cleaning: false,
            not_before: Duration::ZERO,
            next_name: FIRST_NAME,
        }
    }
}

impl Blocks {
    /// A buffer of a block; `None` where the chunk is none.
    pub(crate) fn cut(
        &mut self,
        block: ChunkId,
        offset: u64,
        bytes: u64,
        grant: Grant,
    ) -> Option<Buffer> {
        let whole = self.ready.get(&block)?;
        let piece = Piece {
            block,
            offset,
            bytes: bytes.next_multiple_of(BUFFER_ALIGNMENT),
        };
        let freed = self.freed.0.clone();
        let lease = Arc::new(Lease { piece, freed });
        self.next_name += 1;
        let part = Memory::part(whole, offset, bytes, Box::new(Arc::clone(&lease)));
        // Where the driver has no memory for a handle, the buffer is one of no bytes: it refuses all work, and the piece
        // comes back when it is freed.
        let (memory, bytes) = match part {
            Ok(part) => (part, bytes),
            Err(_) => (Arc::clone(whole), 0),
        };
        Some(Buffer {
            memory,
            chunk: ChunkId(self.next_name),
            offset: 0,
            bytes,
            grant,
            _lease: Some(lease),
        })
    }

    /// Gives a block up; it ends when nothing uses it.
    pub(crate) fn remove(&mut self, block: ChunkId) {
        self.ready.remove(&block);
        self.dirty.retain(|dirty| dirty.block != block);
    }

    /// Takes in what was freed; whether there is anything to be cleaned, and nobody at it.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        while let Ok(Piece {
            block,
            offset,
            bytes,
        }) = self.freed.1.try_recv()
        {
            // Of a block that was given up nobody gets anything any more.
            if let Some(memory) = self.ready.get(&block) {
                self.dirty.push_back(Dirty {
                    block,
                    memory: Arc::clone(memory),
                    name: Some(offset),
                    offset,
                    bytes,
                });
            }
        }
        !self.cleaning && !self.dirty.is_empty() && now >= self.not_before
    }

    /// Records as much as one batch cleans. What was begun comes last in its turn, so that a huge piece delays few others.
    fn record(&mut self, batch: &mut Batch) -> Result<Vec<Clean>, Error> {
        batch.begin()?;
        let (mut room, mut count) = (BATCH_BYTES, 0);
        for dirty in self.dirty.iter().take(MAX_SCRUBBED) {
            let part = dirty.bytes.min(room);
            if part == 0 {
                break;
            }
            batch.fill(&dirty.memory, dirty.offset, part, 0)?;
            room -= part;
            count += 1;
        }
        batch.end()?;
        // Recorded as a whole, so that nothing is forgotten.
        let mut room = BATCH_BYTES;
        let mut cleaned = Vec::new();
        for mut dirty in self.dirty.drain(..count).collect::<Vec<_>>() {
            let part = dirty.bytes.min(room);
            room -= part;
            dirty.offset += part;
            dirty.bytes -= part;
            match (dirty.bytes, dirty.name) {
                (0, Some(offset)) => cleaned.push(Clean::Piece(dirty.block, offset)),
                (0, None) => cleaned.push(Clean::Block(dirty.block, dirty.memory)),
                _ => self.dirty.push_back(dirty),
            }
        }
        Ok(cleaned)
    }
}

impl Engine {
    /// A block is allocated: it is cleared before anybody gets a piece of it.
    pub(crate) fn block_built(
        &mut self,
        block: ChunkId,
        result: Result<Arc<Memory>, (ErrorCode, String)>,
    ) {
        match result {
            Ok(memory) => {
                self.disposal.awaits(block, &memory);
                self.blocks.dirty.push_back(Dirty {
                    block,
                    name: None,
                    offset: 0,
                    bytes: memory.len() & !3,
                    memory,
                });
            }
            Err((code, text)) => self.tell(FromEngine::BlockFailed {
                chunk: block,
                code,
                text,
            }),
        }
    }

    /// Cleans some of what is dirty, on the queue that has least to do. True when there was any.
    pub(crate) fn scrub(&mut self) -> Result<bool, Failure> {
        if !self.blocks.is_due(self.now) {
            return Ok(false);
        }
        let queue = (0..self.queues.len())
            .min_by_key(|queue| self.queues[*queue].flights.len())
            .unwrap_or(0);
        let recorded = self.spare_batch(queue, Timing::Off).and_then(|mut batch| {
            let cleaned = self.blocks.record(&mut batch)?;
            Ok((batch, cleaned))
        });
        let (batch, cleaned) = match recorded {
            Ok(recorded) => recorded,
            // Whoever took the last of the memory goes without it, not everybody without an engine.
            Err(error @ (Error::OutOfDeviceMemory | Error::OutOfHostMemory)) => {
                self.blocks.not_before = self.now + RETRY_AFTER;
                self.refuse_new_blocks(&error);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        self.blocks.cleaning = true;
        let first = self.queues[queue].flights.len();
        self.queues[queue].flights.push_back(Flight {
            value: 0,
            batch: Some(batch),
            purpose: Purpose::Scrub(cleaned),
            guarded: Vec::new(),
        });
        self.submit_flights(queue, first)?;
        Ok(true)
    }

    /// A batch of [`Self::scrub`] is complete.
    pub(crate) fn scrubbed(&mut self, cleaned: Vec<Clean>) {
        self.blocks.cleaning = false;
        let mut pieces: HashMap<ChunkId, Vec<u64>> = HashMap::new();
        for clean in cleaned {
            match clean {
                Clean::Block(chunk, memory) => {
                    self.blocks.ready.insert(chunk, memory);
                    self.tell(FromEngine::BlockReady { chunk });
                }
                Clean::Piece(chunk, offset) => pieces.entry(chunk).or_default().push(offset),
            }
        }
        for (chunk, offsets) in pieces {
            self.tell(FromEngine::Scrubbed { chunk, offsets });
        }
    }

    /// There is no memory to clear them with.
    fn refuse_new_blocks(&mut self, error: &Error) {
        let (refused, rest): (Vec<Dirty>, Vec<Dirty>) = std::mem::take(&mut self.blocks.dirty)
            .into_iter()
            .partition(|dirty| dirty.name.is_none());
        self.blocks.dirty.extend(rest);
        for dirty in refused {
            self.tell(FromEngine::BlockFailed {
                chunk: dirty.block,
                code: code(error),
                text: error.to_string(),
            });
        }
    }
}

/// One batch cleans at most so much: tens of microseconds of a data-centre GPU, a few milliseconds of a small one.
const BATCH_BYTES: u64 = 64 << 20;
/// Until what others have may be less.
const RETRY_AFTER: Duration = Duration::from_millis(10);
/// Chunks are counted from one by vkmpsd, and never so far.
const FIRST_NAME: u64 = 1 << 63;
