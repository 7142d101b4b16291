//! Buffers: cut from chunks, which are made when none has room.

use crate::event::Event;
use crate::memory::{Memory, Placed, rounded};
use crate::session::Pending;
use crate::{Action, Broker, Resource, failed};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::{ChunkSource, ToEngine};
use vkmps_protocol::handle::{BufferId, ChunkId, SessionId};
use vkmps_protocol::limits::{CHUNK_ALIGNMENT, MAX_BUFFERS};
use vkmps_protocol::message::{DaemonMessage, MemoryClass};

impl Broker {
    pub(crate) fn allocate_buffer(&mut self, id: SessionId, bytes: u64, class: MemoryClass) {
        let class = self.engine.class(class);
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if bytes == 0 {
            let text = "a buffer of 0 bytes".to_owned();
            return self.refuse_allocation(id, bytes, class, ErrorCode::InvalidArgument, text);
        }
        if session.memory.buffers() >= MAX_BUFFERS {
            let text = format!("the session has {MAX_BUFFERS} buffers");
            return self.refuse_allocation(id, bytes, class, ErrorCode::LimitReached, text);
        }
        if self.place_buffer(id, bytes, class) {
            return;
        }
        let Some(chunk_bytes) = self.affordable_chunk(id, bytes, class) else {
            let pool = self.budget.pool(class);
            let text = format!(
                "{bytes} bytes asked for, {} of {} left",
                pool.limit_bytes.saturating_sub(pool.used_bytes),
                pool.limit_bytes
            );
            return self.refuse_allocation(id, bytes, class, self.engine.exhausted(class), text);
        };
        let chunk = ChunkId(self.next_chunk);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session
            .memory
            .add_chunk(chunk, class, chunk_bytes)
            .is_none()
        {
            let text = "the session's arena is full".to_owned();
            return self.refuse_allocation(id, bytes, class, self.engine.exhausted(class), text);
        }
        self.next_chunk += 1;
        self.budget.pool(class).used_bytes += chunk_bytes;
        session.pending = Some(Pending::Buffer {
            chunk,
            class,
            bytes,
        });
        if class == MemoryClass::Shared && !session.memory.arena_created {
            self.push(Action::Create {
                session: id,
                resource: Resource::Arena,
            });
        } else {
            self.request_chunk(id, chunk);
        }
    }

    pub(crate) fn arena_created(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.memory.arena_created = true;
        if let Some(Pending::Buffer { chunk, .. }) = session.pending {
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
            class,
            bytes,
        }) = session.pending
        else {
            return;
        };
        if awaited == chunk && !self.place_buffer(id, bytes, class) {
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
        let Some(Pending::Buffer {
            chunk,
            class,
            bytes,
        }) = session.pending
        else {
            return;
        };
        if let Some(gone) = session.memory.remove_chunk(chunk) {
            self.budget.pool(class).used_bytes -= gone.bytes;
        }
        self.refuse_allocation(id, bytes, class, code, text);
    }

    pub(crate) fn free_buffer(&mut self, id: SessionId, buffer: BufferId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Ok(superfluous) = session.memory.free(buffer) else {
            let code = ErrorCode::InvalidHandle;
            return self.answer(id, failed(code, code.to_string()));
        };
        self.push(Action::ToEngine(ToEngine::RemoveBuffer {
            session: id,
            buffer,
        }));
        if let Some(chunk) = superfluous {
            self.give_up_chunk(id, chunk);
        }
        self.answer(id, DaemonMessage::Done);
    }

    /// A session is gone: what its chunks took goes back.
    pub(crate) fn refund(&mut self, memory: &Memory) {
        for class in [MemoryClass::Shared, MemoryClass::Device] {
            self.budget.pool(class).used_bytes -= memory.chunk_bytes(class);
        }
    }

    /// Cuts a buffer from the chunks that are there, and answers. False when none has room.
    fn place_buffer(&mut self, id: SessionId, bytes: u64, class: MemoryClass) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let placed = rounded(bytes).and_then(|rounded| session.memory.place(class, rounded));
        let Some(Placed {
            buffer,
            chunk,
            offset,
            reused,
            mapping,
        }) = placed
        else {
            return false;
        };
        let with_arena = mapping.is_some() && !session.memory.arena_sent;
        session.memory.arena_sent |= with_arena;
        self.push(Action::ToEngine(ToEngine::AddBuffer {
            session: id,
            buffer,
            chunk,
            offset,
            bytes,
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
        true
    }

    /// The size of a new chunk for a buffer of `bytes`: generous where there is room, exact where there is little. When
    /// even that is too much, idle chunks of all sessions make way.
    fn affordable_chunk(&mut self, id: SessionId, bytes: u64, class: MemoryClass) -> Option<u64> {
        let memory = &self.sessions.get(&id)?.memory;
        let generous = memory.next_chunk_bytes(class, rounded(bytes)?)?;
        let exact = rounded(bytes)?.checked_next_multiple_of(CHUNK_ALIGNMENT)?;
        let pool = self.budget.pool(class);
        if exact > pool.limit_bytes {
            return None;
        }
        if !pool.fits(exact) {
            self.give_up_idle_chunks(class);
        }
        let pool = self.budget.pool(class);
        [generous, exact]
            .into_iter()
            .find(|bytes| pool.fits(*bytes))
    }

    fn give_up_idle_chunks(&mut self, class: MemoryClass) {
        let idle = |(id, session): (&SessionId, &crate::session::Session)| {
            let id = *id;
            session
                .memory
                .idle_chunks(class)
                .into_iter()
                .map(move |chunk| (id, chunk))
        };
        // What a closing session has goes when the engine has let go of it, not before.
        let open = self
            .sessions
            .iter()
            .filter(|(_, session)| session.conn().is_some());
        let all: Vec<(SessionId, ChunkId)> = open.flat_map(idle).collect();
        for (id, chunk) in all {
            self.give_up_chunk(id, chunk);
        }
    }

    fn give_up_chunk(&mut self, id: SessionId, chunk: ChunkId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(gone) = session.memory.remove_chunk(chunk) else {
            return;
        };
        self.budget.pool(gone.class).used_bytes -= gone.bytes;
        self.push(Action::ToEngine(ToEngine::RemoveChunk {
            session: id,
            chunk,
        }));
        if let ChunkSource::Arena { offset } = gone.source() {
            // The next chunk there starts with zeros, and the host has its pages back.
            self.push(Action::Discard {
                session: id,
                offset,
                bytes: gone.bytes,
            });
        }
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

    fn refuse_allocation(
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
        self.log(Event::AllocationRefused {
            client,
            bytes,
            class,
            code,
            text: text.clone(),
        });
        self.answer(id, failed(code, text));
    }
}
