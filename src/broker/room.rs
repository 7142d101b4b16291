//! Room for new chunks: what there is, what makes way for it, and who waits until that has gone.
//!
//! What was given up still counts until the engine says that it is gone, since work in flight may use it for a while. A
//! request that fits as soon as it has gone waits for that instead of being refused, but not for ever.

use crate::blocks::Blocks;
use crate::memory::{Home, Pieces, Pool, rounded};
use crate::session::{Pending, Phase, Session};
use crate::{Action, Broker};
use std::time::Duration;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{ChunkId, SessionId};
use vkmps_protocol::limits::CHUNK_ALIGNMENT;
use vkmps_protocol::message::MemoryClass;

/// An answer to who wants a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// One of so many bytes.
    Chunk(u64),
    /// As soon as something else has gone.
    Later,
    /// There is none.
    None(&'static str),
}

/// A session whose request waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) session: SessionId,
    pub(crate) deadline: Duration,
}

impl Broker {
    /// Finds room for a chunk that a buffer of `bytes` fits into: generous where there is room, exact where there is
    /// little. When even that is too much, idle chunks of all sessions make way.
    pub(crate) fn find_room(&mut self, id: SessionId, bytes: u64, home: Home) -> Room {
        let class = home.class();
        let Some(session) = self.sessions.get(&id) else {
            return Room::None("the session is gone");
        };
        let uid = session.peer.uid;
        let sizes = rounded(bytes).and_then(|bytes| {
            let generous = match home {
                Home::Device => self.next_block_bytes(uid, bytes)?,
                Home::Arena | Home::Own => session.memory.next_chunk_bytes(home, bytes)?,
            };
            Some((generous, bytes.checked_next_multiple_of(CHUNK_ALIGNMENT)?))
        });
        let Some((generous, exact)) = sizes.filter(|s| s.1 <= self.budget.pool(class).limit_bytes)
        else {
            return Room::None("more than there is");
        };
        if !self.budget.pool(class).fits(exact) {
            self.give_up_idle_chunks(class);
        }
        if !self.has_piece(uid) {
            self.give_up_idle_chunks(MemoryClass::Shared);
            self.give_up_idle_chunks(MemoryClass::Device);
        }
        if self.has_piece(uid)
            && let Some(bytes) = [generous, exact]
                .into_iter()
                .find(|bytes| self.budget.pool(class).fits(*bytes))
        {
            return Room::Chunk(bytes);
        }
        // What drains will do as well, if it is in one piece.
        let blocks = self.blocks.get(&uid).filter(|_| home == Home::Device);
        if blocks.is_some_and(|blocks| blocks.draining_bytes() >= bytes) {
            return Room::Later;
        }
        let (leaving_bytes, leaving_pieces) = self.leaving(class);
        let Pool {
            limit_bytes,
            used_bytes,
        } = *self.budget.pool(class);
        if (limit_bytes + leaving_bytes).saturating_sub(used_bytes) < exact {
            return Room::None("more than is left");
        }
        if !self.has_piece(uid) && leaving_pieces == 0 {
            return Room::None("the device has as many pieces of memory as it can");
        }
        Room::Later
    }

    /// Lets a session wait until something has gone.
    pub(crate) fn wait_for_room(&mut self, id: SessionId, bytes: u64, home: Home) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.pending = Some(Pending::Room { home, bytes });
            let deadline = self.now + ROOM_TIMEOUT;
            self.waiting.push_back(Waiting {
                session: id,
                deadline,
            });
        }
    }

    /// Something has gone: who waited longest looks first.
    pub(crate) fn serve_waiting(&mut self) {
        for Waiting { session, deadline } in std::mem::take(&mut self.waiting) {
            if let Some((bytes, home)) = self.waits_for_room(session)
                && !self.place(session, bytes, home)
                && !self.take_room(session, bytes, home)
            {
                self.waiting.push_back(Waiting { session, deadline });
            }
        }
    }

    /// Refuses who has waited long enough.
    pub(crate) fn refuse_late(&mut self) {
        let late = |waiting: &Waiting| waiting.deadline <= self.now;
        let count = self.waiting.iter().take_while(|w| late(w)).count();
        for Waiting { session, .. } in self.waiting.drain(..count).collect::<Vec<_>>() {
            if let Some((bytes, home)) = self.waits_for_room(session) {
                let class = home.class();
                let text = "what was given up is still in use".to_owned();
                self.refuse_allocation(session, bytes, class, self.engine.exhausted(class), text);
            }
        }
    }

    /// A chunk that was given up is gone.
    pub(crate) fn chunk_removed(&mut self, id: SessionId, chunk: ChunkId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // Of another one the engine has nothing to say.
        if !session.memory.is_leaving(chunk) {
            return;
        }
        if let Some(gone) = session.memory.remove_chunk(chunk) {
            self.budget.pool(gone.class()).used_bytes -= gone.bytes;
            self.budget.chunks.used -= 1;
        }
        self.serve_waiting();
    }

    pub(crate) fn give_up_chunk(&mut self, id: SessionId, chunk: ChunkId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.memory.chunk_leaves(chunk);
            self.push(Action::ToEngine(ToEngine::RemoveChunk {
                session: id,
                chunk,
            }));
        }
    }

    fn give_up_idle_chunks(&mut self, class: MemoryClass) {
        if class == MemoryClass::Device {
            return self.give_up_idle_blocks(None);
        }
        let mut idle = Vec::new();
        // What a closing session has goes without that.
        for (id, session) in self.sessions.iter().filter(|(_, s)| s.conn().is_some()) {
            let chunks = session.memory.idle_chunks(class);
            idle.extend(chunks.into_iter().map(|chunk| (*id, chunk)));
        }
        for (id, chunk) in idle {
            self.give_up_chunk(id, chunk);
        }
    }

    /// Whether a user may have one more piece of memory.
    fn has_piece(&self, uid: u32) -> bool {
        let Pieces { limit, used } = self.budget.chunks;
        if used >= limit {
            return false;
        }
        let of_user = self.sessions.values().filter(|s| s.peer.uid == uid);
        let has: usize = of_user.map(|session| session.memory.chunks()).sum();
        let blocks = self.blocks.get(&uid).map_or(0, Blocks::len);
        uid == ROOT || has + blocks < self.budget.chunks.of_user()
    }

    /// Bytes of a class, and pieces of all, that are on their way out.
    fn leaving(&self, class: MemoryClass) -> (u64, usize) {
        let of_session = |session: &Session| match session.phase {
            Phase::Closing => (session.memory.bytes().shared, session.memory.chunks()),
            _ => session.memory.leaving(),
        };
        let add = |sum: (u64, usize), (bytes, pieces)| (sum.0 + bytes, sum.1 + pieces);
        let shared = self.sessions.values().map(of_session).fold((0, 0), add);
        let blocks = self.blocks.values().map(Blocks::leaving).fold((0, 0), add);
        let bytes = match class {
            MemoryClass::Shared => shared.0,
            MemoryClass::Device => blocks.0,
        };
        (bytes, shared.1 + blocks.1)
    }

    fn waits_for_room(&self, id: SessionId) -> Option<(u64, Home)> {
        match self.sessions.get(&id)?.pending {
            Some(Pending::Room { home, bytes }) => Some((bytes, home)),
            _ => None,
        }
    }
}

/// The user whose part of anything is not limited.
pub(crate) const ROOT: u32 = 0;
/// Work in flight may hold memory for as long as a hung device is given; who waits would rather hear of it.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);
