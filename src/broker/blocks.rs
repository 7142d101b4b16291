//! Device memory, by user: blocks that the buffers of all its sessions are cut from.
//!
//! What is cut is clean. A block is cleared when it is made; a buffer that is freed, or whose session dies, leaves a range
//! that *drains*: the engine waits for the last work that uses it, fills it with zeros on the device, in the background,
//! and says so. Until then the range is nobody's. So bytes reach nobody else, be it another session of the same user, and
//! who finds a clean range at hand waits for nothing; where there is none, a new block is made, or the request waits for
//! what drains. Each buffer is an object of its own for the device, bound to exactly its range, so that no access beyond
//! its end finds a neighbour. Users share no blocks. A block that none of the user's buffers is in goes back to the device,
//! except for one.

use crate::memory::{Home, grown};
use crate::ranges::Ranges;
use crate::session::Pending;
use crate::{Action, Broker};
use std::collections::BTreeMap;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{ChunkId, SessionId};
use vkmps_protocol::message::MemoryClass;

/// The blocks of one user.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    blocks: BTreeMap<ChunkId, Block>,
    bytes: u64,
}

#[derive(Debug)]
struct Block {
    bytes: u64,
    ranges: Ranges,
    /// Buffers in it.
    buffers: usize,
    /// Offset and length of what is not clean yet.
    draining: BTreeMap<u64, u64>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Asked of the engine.
    Asked,
    Ready,
    /// Given up; work in flight may use it still.
    Leaving,
}

/// A piece of a block that a buffer is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) block: ChunkId,
    pub(crate) offset: u64,
    /// Rounded.
    pub(crate) bytes: u64,
}

impl Blocks {
    /// Bytes of all blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Bytes and number of blocks that were given up and are not gone.
    pub(crate) fn leaving(&self) -> (u64, usize) {
        let leaving = self.blocks.values().filter(|b| b.stage == Stage::Leaving);
        leaving.fold((0, 0), |sum, block| (sum.0 + block.bytes, sum.1 + 1))
    }

    /// Bytes that buffers can be cut from once they are clean.
    pub(crate) fn draining_bytes(&self) -> u64 {
        let ready = self.blocks.values().filter(|b| b.stage == Stage::Ready);
        ready.flat_map(|block| block.draining.values()).sum()
    }

    /// Cuts a clean piece of `bytes` (rounded).
    fn cut(&mut self, bytes: u64) -> Option<Piece> {
        let ready = |block: &&mut Block| block.stage == Stage::Ready;
        self.blocks.iter_mut().find_map(|(id, block)| {
            let block = Some(block).filter(ready)?;
            let offset = block.ranges.allocate(bytes)?.offset;
            block.buffers += 1;
            Some(Piece {
                block: *id,
                offset,
                bytes,
            })
        })
    }

    /// A buffer is freed: its piece drains. The block to give up, if one became superfluous.
    fn drain(&mut self, piece: Piece) -> Option<ChunkId> {
        let block = self.blocks.get_mut(&piece.block)?;
        block.buffers -= 1;
        block.draining.insert(piece.offset, piece.bytes);
        self.superfluous(piece.block)
    }

    /// A block that need not stay, now that this one may have no buffers.
    fn superfluous(&self, id: ChunkId) -> Option<ChunkId> {
        let block = self.blocks.get(&id).filter(|block| block.is_idle())?;
        let bytes = block.bytes;
        let mut others = self.blocks.iter().filter(|(other, _)| **other != id);
        let other = others.find(|(_, block)| block.is_idle());
        match other {
            // One stays for the next buffer: the smaller one.
            Some((other, block)) if block.bytes > bytes => Some(*other),
            Some(_) => Some(id),
            None => (bytes > crate::memory::MAX_GROWTH_BYTES).then_some(id),
        }
    }

    /// Blocks without buffers.
    fn idle(&self) -> Vec<ChunkId> {
        let idle = self.blocks.iter().filter(|(_, block)| block.is_idle());
        idle.map(|(id, _)| *id).collect()
    }

    fn remove(&mut self, id: ChunkId) -> Option<u64> {
        let bytes = self.blocks.remove(&id)?.bytes;
        self.bytes -= bytes;
        Some(bytes)
    }
}

impl Block {
    fn is_idle(&self) -> bool {
        self.stage == Stage::Ready && self.buffers == 0
    }
}

impl Broker {
    /// Cuts a buffer from the blocks of the session's user, and answers. False when none has clean room.
    pub(crate) fn cut_buffer(&mut self, id: SessionId, bytes: u64, rounded: u64) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let blocks = self.blocks.get_mut(&session.peer.uid);
        let Some(piece) = blocks.and_then(|blocks| blocks.cut(rounded)) else {
            return false;
        };
        let buffer = session.memory.keep_piece(piece);
        let (chunk, offset) = (piece.block, piece.offset);
        self.buffer_ready(id, buffer, chunk, offset, bytes, None);
        true
    }

    /// Makes a block of a size that there is room for; a buffer of `bytes` waits for it.
    pub(crate) fn add_block(&mut self, id: SessionId, bytes: u64, block_bytes: u64) {
        let chunk = ChunkId(self.next_chunk);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.next_chunk += 1;
        session.pending = Some(Pending::Buffer {
            chunk,
            home: Home::Device,
            bytes,
        });
        let blocks = self.blocks.entry(session.peer.uid).or_default();
        blocks.bytes += block_bytes;
        let block = Block {
            bytes: block_bytes,
            ranges: Ranges::new(block_bytes),
            buffers: 0,
            draining: BTreeMap::new(),
            stage: Stage::Asked,
        };
        blocks.blocks.insert(chunk, block);
        self.budget.device.used_bytes += block_bytes;
        self.budget.chunks.used += 1;
        self.push(Action::ToEngine(ToEngine::AddBlock {
            chunk,
            bytes: block_bytes,
        }));
    }

    pub(crate) fn block_ready(&mut self, chunk: ChunkId) {
        let Some((uid, block)) = self.block(chunk) else {
            return;
        };
        block.stage = Stage::Ready;
        if let Some((id, bytes)) = self.awaiting_block(chunk)
            && !self.place_pooled(id, bytes)
        {
            // Somebody else of the user was quicker.
            self.wait_for_room(id, bytes, Home::Device);
        }
        self.serve_waiting();
        let superfluous = self.blocks.get(&uid).and_then(|b| b.superfluous(chunk));
        if let Some(superfluous) = superfluous {
            self.give_up_block(superfluous);
        }
        self.leave_to_nobody(uid);
    }

    pub(crate) fn block_failed(&mut self, chunk: ChunkId, code: ErrorCode, text: &str) {
        self.forget_block(chunk);
        if let Some((id, bytes)) = self.awaiting_block(chunk) {
            self.refuse_allocation(id, bytes, MemoryClass::Device, code, text.to_owned());
        }
    }

    /// A block that was given up is gone.
    pub(crate) fn block_removed(&mut self, chunk: ChunkId) {
        let leaving = self
            .block(chunk)
            .is_some_and(|(_, block)| block.stage == Stage::Leaving);
        // Of another one the engine has nothing to say.
        if leaving {
            self.forget_block(chunk);
            self.serve_waiting();
        }
    }

    /// Pieces of a block are clean.
    pub(crate) fn scrubbed(&mut self, chunk: ChunkId, offsets: &[u64]) {
        let Some((uid, block)) = self.block(chunk) else {
            return;
        };
        for offset in offsets {
            if let Some(bytes) = block.draining.remove(offset) {
                block.ranges.release(*offset, bytes);
            }
        }
        // Quicker than the new blocks that some wait for.
        for (id, bytes) in self.awaiting_blocks(uid) {
            self.place_pooled(id, bytes);
        }
        self.serve_waiting();
    }

    /// A buffer of a user is freed. The engine has been told, or is about to be.
    pub(crate) fn drain(&mut self, uid: u32, piece: Piece) {
        let blocks = self.blocks.get_mut(&uid);
        if let Some(superfluous) = blocks.and_then(|blocks| blocks.drain(piece)) {
            self.give_up_block(superfluous);
        }
    }

    /// All buffers of a session that closes drain.
    pub(crate) fn drain_all(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let uid = session.peer.uid;
        for piece in session.memory.drain_pieces() {
            self.drain(uid, piece);
        }
    }

    /// Blocks of a user without sessions go.
    pub(crate) fn leave_to_nobody(&mut self, uid: u32) {
        if !self
            .sessions
            .values()
            .any(|session| session.peer.uid == uid)
        {
            self.give_up_idle_blocks(Some(uid));
        }
    }

    /// Gives up blocks without buffers, of one user or of all.
    pub(crate) fn give_up_idle_blocks(&mut self, only: Option<u32>) {
        let users = self.blocks.iter();
        let users = users.filter(|(uid, _)| only.is_none_or(|only| only == **uid));
        for chunk in users
            .flat_map(|(_, blocks)| blocks.idle())
            .collect::<Vec<_>>()
        {
            self.give_up_block(chunk);
        }
    }

    /// The engine is gone, and all memory of the device with it.
    pub(crate) fn forget_blocks(&mut self) {
        for (_, blocks) in std::mem::take(&mut self.blocks) {
            self.budget.device.used_bytes -= blocks.bytes;
            self.budget.chunks.used -= blocks.len();
        }
    }

    /// Size of the block that a request of `bytes` (rounded) of a user calls for.
    pub(crate) fn next_block_bytes(&self, uid: u32, bytes: u64) -> Option<u64> {
        let has = self.blocks.get(&uid).map_or(0, Blocks::bytes);
        grown(has, MemoryClass::Device, bytes)
    }

    fn place_pooled(&mut self, id: SessionId, bytes: u64) -> bool {
        let rounded = crate::memory::rounded(bytes);
        rounded.is_some_and(|rounded| self.cut_buffer(id, bytes, rounded))
    }

    fn give_up_block(&mut self, chunk: ChunkId) {
        if let Some((_, block)) = self.block(chunk) {
            block.stage = Stage::Leaving;
            if self.engine.is_ready() {
                self.push(Action::ToEngine(ToEngine::RemoveBlock { chunk }));
            }
        }
    }

    fn forget_block(&mut self, chunk: ChunkId) {
        let Some((uid, _)) = self.block(chunk) else {
            return;
        };
        let Some(blocks) = self.blocks.get_mut(&uid) else {
            return;
        };
        if let Some(bytes) = blocks.remove(chunk) {
            self.budget.device.used_bytes -= bytes;
            self.budget.chunks.used -= 1;
        }
        if blocks.len() == 0 {
            self.blocks.remove(&uid);
        }
    }

    fn block(&mut self, chunk: ChunkId) -> Option<(u32, &mut Block)> {
        self.blocks
            .iter_mut()
            .find_map(|(uid, blocks)| Some((*uid, blocks.blocks.get_mut(&chunk)?)))
    }

    /// The session whose buffer waits for a block, and the buffer's size.
    fn awaiting_block(&self, chunk: ChunkId) -> Option<(SessionId, u64)> {
        self.sessions
            .iter()
            .find_map(|(id, session)| match session.pending {
                Some(Pending::Buffer {
                    chunk: awaited,
                    bytes,
                    ..
                }) if awaited == chunk => Some((*id, bytes)),
                _ => None,
            })
    }

    /// Sessions of a user whose buffers wait for blocks, and the buffers' sizes.
    fn awaiting_blocks(&self, uid: u32) -> Vec<(SessionId, u64)> {
        let of_user = self.sessions.iter().filter(|(_, s)| s.peer.uid == uid);
        let awaiting = |(id, session): (&SessionId, &crate::session::Session)| match session.pending
        {
            Some(Pending::Buffer {
                home: Home::Device,
                bytes,
                ..
            }) => Some((*id, bytes)),
            _ => None,
        };
        of_user.filter_map(awaiting).collect()
    }

    /// # Panics
    /// If blocks and buffers do not agree.
    pub(crate) fn verify_blocks(&self) {
        let mut sum = (0, 0);
        for (uid, blocks) in &self.blocks {
            assert!(blocks.len() > 0);
            let of_user = self.sessions.values().filter(|s| s.peer.uid == *uid);
            let pieces: Vec<Piece> = of_user.flat_map(|s| s.memory.pieces()).collect();
            for (id, block) in &blocks.blocks {
                block.ranges.verify_invariants();
                let here: Vec<&Piece> = pieces.iter().filter(|p| p.block == *id).collect();
                assert_eq!(here.len(), block.buffers);
                let bytes: u64 = here.iter().map(|piece| piece.bytes).sum();
                let draining: u64 = block.draining.values().sum();
                assert_eq!(block.ranges.used(), bytes + draining);
                assert!(block.stage == Stage::Ready || block.buffers == 0);
            }
            assert!(pieces.iter().all(|p| blocks.blocks.contains_key(&p.block)));
            let total: u64 = blocks.blocks.values().map(|block| block.bytes).sum();
            assert_eq!(blocks.bytes, total);
            sum = (sum.0 + total, sum.1 + blocks.len());
        }
        let in_sessions = self.sessions.values().map(|s| s.memory.chunks());
        assert_eq!(self.budget.device.used_bytes, sum.0);
        assert_eq!(self.budget.chunks.used, sum.1 + in_sessions.sum::<usize>());
    }
}
