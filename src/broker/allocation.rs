//! Buffers: cut from chunks, which are made when none has room.

use crate::event::Event;
use crate::memory::{Freed, Home, Memory, Placed, rounded};
use crate::room::Room;
use crate::session::Pending;
use crate::{Action, Broker, Resource, beyond, failed};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{BufferId, ChunkId, SessionId};
use vkmps_protocol::message::{DaemonMessage, MemoryClass, SharedMapping};
use vkmps_protocol::quota::{Excess, Limit};
use vkmps_protocol::sharing::{Grant, ShareName};

impl Broker {
    pub(crate) fn allocate_buffer(&mut self, id: SessionId, bytes: u64, class: MemoryClass) {
        self.allocate(id, bytes, Home::of(self.engine.class(class)));
    }

    pub(crate) fn allocate(&mut self, id: SessionId, bytes: u64, home: Home) {
        let class = home.class();
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if bytes == 0 {
            let text = "a buffer of 0 bytes".to_owned();
            return self.refuse_allocation(id, bytes, class, ErrorCode::InvalidArgument, text);
        }
        if let Some(excess) = session.beyond_count(Limit::Buffers) {
            return self.refuse_beyond(id, bytes, class, excess);
        }
        let total = self.memory_total().of(class);
        let Some(charged) = rounded(bytes).filter(|bytes| *bytes <= total) else {
            let text = format!("{bytes} bytes asked for: more than there is");
            return self.refuse_allocation(id, bytes, class, self.engine.exhausted(class), text);
        };
        if let Err(excess) = self.charge(id, class, charged) {
            return self.refuse_beyond(id, bytes, class, excess);
        }
        if !self.place(id, bytes, home) && !self.take_room(id, bytes, home) {
            self.wait_for_room(id, bytes, home);
        }
    }

    /// Cuts a buffer from what there is, and answers. False when nothing has room.
    pub(crate) fn place(&mut self, id: SessionId, bytes: u64, home: Home) -> bool {
        match (home, rounded(bytes)) {
            (Home::Arena, Some(rounded)) => self.place_buffer(id, bytes, rounded),
            (Home::Device, Some(rounded)) => self.cut_buffer(id, bytes, rounded),
            (Home::Own, _) | (_, None) => false,
        }
    }

    /// Makes a chunk for a buffer, or refuses. False when the request has to wait for room.
    pub(crate) fn take_room(&mut self, id: SessionId, bytes: u64, home: Home) -> bool {
        let class = home.class();
        let refuse = |broker: &mut Self, text: &str| {
            let code = broker.engine.exhausted(class);
            let text = format!("{bytes} bytes asked for: {text}");
            broker.refuse_allocation(id, bytes, class, code, text);
            true
        };
        let chunk_bytes = match self.find_room(id, bytes, home) {
            Room::Chunk(bytes) => bytes,
            Room::Later => return false,
            Room::None(text) => return refuse(self, text),
        };
        if home == Home::Device {
            self.add_block(id, bytes, chunk_bytes);
            return true;
        }
        let chunk = ChunkId(self.next_chunk);
        let Some(session) = self.sessions.get_mut(&id) else {
            return true;
        };
        let added = session.memory.add_chunk(chunk, home, chunk_bytes);
        if added.is_none() {
            return refuse(self, "the session's arena is full");
        }
        self.next_chunk += 1;
        self.budget.pool(class).used_bytes += chunk_bytes;
        self.budget.chunks.used += 1;
        session.pending = Some(Pending::Buffer { chunk, home, bytes });
        let resource = match home {
            Home::Arena if !session.memory.arena_created => Resource::Arena,
            Home::Own => Resource::Share {
                chunk,
                bytes: chunk_bytes,
            },
            Home::Arena | Home::Device => {
                self.request_chunk(id, chunk);
                return true;
            }
        };
        self.push(Action::Create {
            session: id,
            resource,
        });
        true
    }

    pub(crate) fn arena_created(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.memory.arena_created = true;
        self.file_created(id);
    }

    /// What the chunk lies in is there.
    pub(crate) fn file_created(&mut self, id: SessionId) {
        let pending = self.sessions.get(&id).and_then(|s| s.pending.as_ref());
        if let Some(&Pending::Buffer { chunk, .. }) = pending {
            self.request_chunk(id, chunk);
        }
    }

    pub(crate) fn chunk_ready(&mut self, id: SessionId, chunk: ChunkId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.memory.chunk_is_ready(chunk);
        let Some(Pending::Buffer {
            chunk: awaited,
            home,
            bytes,
        }) = session.pending
        else {
            return;
        };
        if awaited != chunk {
            return;
        }
        let class = home.class();
        let placed = match home {
            Home::Own => self.share_ready(id, chunk, bytes),
            Home::Arena | Home::Device => self.place(id, bytes, home),
        };
        if !placed {
            let text = "the new chunk has no room".to_owned();
            self.refuse_allocation(id, bytes, class, self.engine.exhausted(class), text);
        }
    }

    pub(crate) fn chunk_failed(
        &mut self,
        id: SessionId,
        chunk: ChunkId,
        code: ErrorCode,
        text: String,
    ) {
        let pending = self
            .sessions
            .get(&id)
            .and_then(|session| session.pending.as_ref());
        if matches!(pending, Some(Pending::Buffer { chunk: awaited, .. }) if *awaited == chunk) {
            self.abandon_chunk(id, code, text);
        }
    }

    /// The chunk that a request waits for will not be: nothing of it stays.
    pub(crate) fn abandon_chunk(&mut self, id: SessionId, code: ErrorCode, text: String) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(Pending::Buffer { chunk, home, bytes }) = session.pending else {
            return;
        };
        let class = home.class();
        if home == Home::Own {
            self.actions.push(Action::DropShare { chunk });
        }
        if let Some(gone) = session.memory.remove_chunk(chunk) {
            self.budget.pool(class).used_bytes -= gone.bytes;
            self.budget.chunks.used -= 1;
        }
        self.refuse_allocation(id, bytes, class, code, text);
    }

    pub(crate) fn free_buffer(&mut self, id: SessionId, buffer: BufferId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let uid = session.peer.uid;
        let charged = session.memory.buffer(buffer);
        let Some(freed) = session.memory.free(buffer) else {
            let code = ErrorCode::InvalidHandle;
            return self.answer(id, failed(code, code.to_string()));
        };
        if let Some((class, bytes)) = charged {
            self.refund(id, class, bytes);
        }
        // Who waits for it sleeps already; the engine has the time.
        self.answer(id, DaemonMessage::Done);
        self.push(Action::ToEngine(ToEngine::RemoveBuffer {
            session: id,
            buffer,
        }));
        match freed {
            Freed::Private(None) => {}
            Freed::Private(Some(chunk)) => self.give_up_chunk(id, chunk),
            Freed::Pooled(piece) => self.drain(uid, piece),
            Freed::Shareable(chunk) => {
                self.revoke(ShareName {
                    session: id,
                    buffer,
                });
                self.give_up_chunk(id, chunk);
            }
            Freed::Attached(name) => self.detach(id, buffer, name),
        }
    }

    /// A session is gone: what its chunks took goes back.
    pub(crate) fn give_back(&mut self, memory: &Memory) {
        self.budget.shared.used_bytes -= memory.bytes().shared;
        self.budget.chunks.used -= memory.chunks();
    }

    /// Cuts a buffer from the chunks that are there, and answers. False when none has room.
    fn place_buffer(&mut self, id: SessionId, bytes: u64, rounded: u64) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let Some(Placed {
            buffer,
            chunk,
            offset,
            mapping,
        }) = session.memory.place(rounded)
        else {
            return false;
        };
        self.buffer_ready(id, buffer, chunk, offset, bytes, mapping);
        true
    }

    /// Tells the engine of a private buffer, then the client: it is on its way before the client hears of it.
    pub(crate) fn buffer_ready(
        &mut self,
        id: SessionId,
        buffer: BufferId,
        chunk: ChunkId,
        offset: u64,
        bytes: u64,
        mapping: Option<SharedMapping>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.charge = None;
        let with_arena = mapping.is_some() && !session.memory.arena_sent;
        session.memory.arena_sent |= with_arena;
        let reused = mapping.is_some_and(|mapping| mapping.reused);
        self.push(Action::ToEngine(ToEngine::AddBuffer {
            session: id,
            buffer,
            chunk,
            offset,
            bytes,
            grant: Grant::ReadWrite,
        }));
        self.answer(
            id,
            DaemonMessage::BufferReady {
                buffer,
                mapping,
                with_arena,
                reused,
            },
        );
    }

    fn request_chunk(&mut self, id: SessionId, chunk: ChunkId) {
        let session = self.sessions.get(&id);
        let Some(made) = session.and_then(|session| session.memory.chunk(chunk)) else {
            return;
        };
        let (bytes, source) = (made.bytes, made.source());
        self.push(Action::ToEngine(ToEngine::AddChunk {
            session: id,
            chunk,
            bytes,
            source,
        }));
    }

    /// A request that would break a limit.
    fn refuse_beyond(&mut self, id: SessionId, bytes: u64, class: MemoryClass, excess: Excess) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let client = session.client(id);
        self.log(Event::AllocationRefused {
            client,
            bytes,
            class,
            code: ErrorCode::LimitReached,
            text: excess.to_string(),
            excess: Some(excess),
        });
        self.answer(id, beyond(excess));
    }

    /// Refuses the request that a session waits for; what it was charged for it goes back.
    pub(crate) fn refuse_allocation(
        &mut self,
        id: SessionId,
        bytes: u64,
        class: MemoryClass,
        code: ErrorCode,
        text: String,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let client = session.client(id);
        self.uncharge(id);
        self.log(Event::AllocationRefused {
            client,
            bytes,
            class,
            code,
            text: text.clone(),
            excess: None,
        });
        self.answer(id, failed(code, text));
    }
}
