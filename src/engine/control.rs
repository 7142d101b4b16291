//! What vkmpsd says to the engine and the other way round.

use crate::builder::{Built, Request};
use crate::engine::{Engine, Failure, Leaving};
use crate::job::Program;
use crate::ledger::Slot;
use crate::session::{Buffer, Session};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use vkmps_gpu::Memory;
use vkmps_ipc::ring::SessionRegion;
use vkmps_ipc::wake;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::{ChunkSource, FromEngine, ToEngine};
use vkmps_protocol::handle::{ChunkId, ProgramHash, SessionId};
use vkmps_protocol::message::Priority;
use vkmps_protocol::recorder::Event;
use vkmps_protocol::share::NO_CAP;
use vkmps_scheduler::{Input, Policy, Realtime, Share};

impl Engine {
    /// Takes all messages in that are there.
    pub(crate) fn read_control(&mut self) -> Result<(), Failure> {
        loop {
            let packet = match self.control.receive(&mut *self.message) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Err(Failure::Orphaned),
                Err(error) if error.errno == Errno::EAGAIN => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let message: ToEngine = vkmps_protocol::decode(&self.message[..packet.bytes])
                .map_err(|_| Failure::Daemon("undecodable message"))?;
            if packet.truncated || packet.descriptors.len() != message.descriptors() {
                return Err(Failure::Daemon(
                    "message with a wrong number of descriptors",
                ));
            }
            self.heard = self.heard.wrapping_add(1);
            self.obey(message, packet.descriptors)?;
        }
    }

    fn obey(&mut self, message: ToEngine, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || {
            descriptors
                .next()
                .ok_or(Failure::Daemon("descriptor is missing"))
        };
        match message {
            ToEngine::Reserved | ToEngine::Start => {
                return Err(Failure::Daemon("message out of order"));
            }
            ToEngine::AddSession {
                session,
                slot,
                uid,
                priority,
                weight,
                cap_percent,
            } => {
                let (region, doorbell) = (next()?, next()?);
                self.add_session(session, slot, &region, doorbell, (uid, priority))?;
                self.set_client_share(session, weight, cap_percent);
            }
            ToEngine::RemoveSession { session } => self.close(session),
            ToEngine::AddChunk {
                session,
                chunk,
                bytes,
                source,
            } => {
                let arena = match source {
                    ChunkSource::Arena { offset } => (next()?, offset),
                    ChunkSource::File => (next()?, 0),
                };
                let Some(owner) = self.session(session) else {
                    return Ok(());
                };
                // A client that asks and leaves, again and again, must neither fill the builder's queue nor have more
                // memory than it is counted for: until its memory is gone, a session keeps its place.
                owner.chunks += 1;
                self.chunks.insert(chunk, session);
                self.builder.build(Request::Chunk {
                    session,
                    chunk,
                    bytes,
                    arena,
                });
            }
            ToEngine::RemoveChunk { session, chunk } => {
                if let Some(session) = self.session(session) {
                    session.objects.chunks.remove(&chunk);
                }
            }
            ToEngine::AddBuffer {
                session,
                buffer,
                chunk,
                offset,
                bytes,
                grant,
            } => {
                let of_chunk = |memory| Buffer {
                    memory,
                    chunk,
                    offset,
                    bytes,
                    grant,
                    _lease: None,
                };
                let cut = match self.chunk(chunk) {
                    Some(memory) => Some(of_chunk(memory)),
                    None => self.blocks.cut(chunk, offset, bytes, grant),
                };
                if let Some(cut) = cut
                    && let Some(session) = self.session(session)
                {
                    session.objects.buffers.put(buffer.0, cut);
                }
            }
            ToEngine::RemoveBuffer { session, buffer } => {
                if let Some(session) = self.session(session) {
                    session.objects.buffers.remove(buffer.0);
                }
            }
            ToEngine::AddBlock { chunk, bytes } => {
                self.builder.build(Request::Block { chunk, bytes });
            }
            ToEngine::RemoveBlock { chunk } => self.blocks.remove(chunk),
            ToEngine::AddPipeline {
                hash,
                entry,
                interface,
            } => {
                let (module, cache) = (next()?, next()?);
                self.builder.build(Request::Pipeline {
                    hash,
                    entry,
                    interface,
                    module,
                    cache,
                });
            }
            ToEngine::RemovePipeline { hash } => drop(self.programs.remove(&hash)),
            ToEngine::AddProgram {
                session,
                program,
                hash,
            } => {
                if let Some(found) = self.programs.get(&hash).cloned()
                    && let Some(session) = self.session(session)
                {
                    session.objects.programs.put(program.0, found);
                }
            }
            ToEngine::RemoveProgram { session, program } => {
                if let Some(session) = self.session(session) {
                    session.objects.programs.remove(program.0);
                }
            }
            ToEngine::Stop => {
                if self.leaving == Leaving::No {
                    self.leaving = Leaving::LastCall;
                }
            }
            ToEngine::SetPriority { session, priority } => self.set_priority(session, priority),
            ToEngine::SetSessionLimits {
                session,
                streams,
                submits,
            } => {
                if let Some(session) = self.session(session) {
                    (session.max_streams, session.max_submits) = (streams, submits);
                }
            }
            ToEngine::SetClientShare {
                session,
                weight,
                cap_percent,
            } => self.set_client_share(session, weight, cap_percent),
            ToEngine::JoinGroup {
                session,
                group,
                cap_percent,
            } => {
                if let Some(session) = self.session(session) {
                    let (client, pool) = (session.client, group.0);
                    let cap = Some(cap_percent).filter(|cap| *cap != NO_CAP);
                    let input = Input::ClientPool { client, pool, cap };
                    self.scheduler.handle(input, self.now, &mut self.actions);
                }
            }
            ToEngine::SetUserShare {
                uid,
                weight,
                cap_percent,
                reserve_percent,
            } => {
                let share = Share {
                    reserve: reserve_percent,
                    ..share(weight, cap_percent)
                };
                let input = Input::UserShare { uid, share };
                self.scheduler.handle(input, self.now, &mut self.actions);
            }
            ToEngine::SetPolicy {
                mode,
                loop_slice_quota: _,
                realtime_budget_us,
                realtime_period_us,
            } => {
                let realtime = Realtime {
                    budget: Duration::from_micros(u64::from(realtime_budget_us)),
                    period: Duration::from_micros(u64::from(realtime_period_us)),
                };
                // A budget of all the time is none.
                let realtime = Some(realtime).filter(|limit| limit.budget < limit.period);
                let input = Input::PolicyChanged(Policy { mode, realtime });
                self.scheduler.handle(input, self.now, &mut self.actions);
            }
            ToEngine::Ping { nonce } => self.tell(FromEngine::Pong { nonce }),
        }
        Ok(())
    }

    fn add_session(
        &mut self,
        id: SessionId,
        slot: u32,
        region: &OwnedFd,
        doorbell: OwnedFd,
        (uid, priority): (u32, Priority),
    ) -> Result<(), Failure> {
        let slot = Slot::new(slot).ok_or(Failure::Daemon("ledger slot out of range"))?;
        let region = SessionRegion::map(region)?;
        let index = self.free_sessions.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        self.watch_doorbell(index, &doorbell)?;
        self.ledger.assign(slot, id);
        let client = self.scheduler.join(uid, priority);
        let session = Session::new(id, slot, region, doorbell, client);
        // The client may have written before the engine knew of it. Its doorbell is not for us to ring: the client shares
        // the eventfd with its flags, and may have made it one that is full and blocks.
        let waits = session.region.ask_for_doorbell();
        self.sessions[index] = Some(session);
        self.names.insert(id, index);
        if waits {
            self.warm(index);
        }
        Ok(())
    }

    fn set_priority(&mut self, id: SessionId, priority: Priority) {
        let Some(&index) = self.names.get(&id) else {
            return;
        };
        // One that is closing has left the scheduler.
        let Some(session) = self.sessions[index]
            .as_ref()
            .filter(|session| !session.closing)
        else {
            return;
        };
        let client = session.client;
        let input = Input::PriorityChanged { client, priority };
        self.scheduler.handle(input, self.now, &mut self.actions);
    }

    fn set_client_share(&mut self, id: SessionId, weight: u16, cap_percent: u8) {
        let session = self
            .names
            .get(&id)
            .and_then(|index| self.sessions[*index].as_ref());
        // One that is closing has left the scheduler.
        if let Some(session) = session.filter(|session| !session.closing) {
            let (client, share) = (session.client, share(weight, cap_percent));
            let input = Input::ClientShare { client, share };
            self.scheduler.handle(input, self.now, &mut self.actions);
        }
    }

    /// Ends a session: queued jobs are dropped, those in flight run to their end.
    fn close(&mut self, id: SessionId) {
        let Some(&index) = self.names.get(&id) else {
            return;
        };
        let Some(session) = self.sessions[index].as_mut() else {
            return;
        };
        if std::mem::replace(&mut session.closing, true) {
            return;
        }
        let _ = self.epoll.delete(&session.doorbell);
        self.recorder.mark(id, Event::Ended, self.now);
        self.hot.retain(|hot| *hot != index);
        for stream in session.streams.iter_mut().filter_map(Option::take) {
            self.scheduler.handle(
                Input::Closed { stream: stream.key },
                self.now,
                &mut self.actions,
            );
        }
        let left = Input::Left {
            client: session.client,
        };
        self.scheduler.handle(left, self.now, &mut self.actions);
        session.objects = crate::session::Objects::default();
        if session.is_over() {
            self.gone.push(index);
        }
        // What the scheduler dropped is accounted for with its other actions.
        self.closed = true;
    }

    /// A session broke the protocol: it gets no more service, and vkmpsd ends it.
    pub(crate) fn fault(&mut self, index: usize, text: String) {
        let Some(session) = self.sessions[index].as_ref() else {
            return;
        };
        let id = session.id;
        self.tell(FromEngine::SessionFault { session: id, text });
        self.close(id);
    }

    /// Takes finished objects over.
    pub(crate) fn take_built(&mut self) -> Result<(), Failure> {
        wake::silence(&**self.builder.event());
        while let Some(chunk) = self.disposal.gone() {
            self.chunk_gone(chunk);
        }
        while let Some(built) = self.builder.finished() {
            match built {
                Built::Chunk {
                    session,
                    chunk,
                    result,
                } => match result {
                    Ok(memory) => self.chunk_ready(session, chunk, &memory),
                    Err((code, text)) => self.chunk_failed(session, chunk, code, text),
                },
                Built::Block { chunk, result } => self.block_built(chunk, result),
                Built::Pipeline {
                    hash,
                    interface,
                    result,
                } => match result {
                    Ok(pipeline) => {
                        let descriptors = interface
                            .bindings
                            .iter()
                            .map(|binding| binding.count as usize)
                            .sum();
                        self.programs.insert(
                            hash,
                            Arc::new(Program {
                                key: program_key(hash),
                                pipeline,
                                interface,
                                descriptors,
                            }),
                        );
                        self.tell(FromEngine::PipelineReady { hash });
                    }
                    Err(text) => self.tell(FromEngine::PipelineFailed { hash, text }),
                },
            }
        }
        Ok(())
    }

    fn chunk_failed(&mut self, session: SessionId, chunk: ChunkId, code: ErrorCode, text: String) {
        self.chunk_over(session, chunk);
        self.tell(FromEngine::ChunkFailed {
            session,
            chunk,
            code,
            text,
        });
    }

    /// The disposal is done with a chunk; if its session is still there, vkmpsd is told.
    fn chunk_gone(&mut self, chunk: ChunkId) {
        let Some(&session) = self.chunks.get(&chunk) else {
            return self.tell(FromEngine::BlockRemoved { chunk });
        };
        self.chunk_over(session, chunk);
        if self.session(session).is_some() {
            self.tell(FromEngine::ChunkRemoved { session, chunk });
        }
    }

    /// There is no such chunk any more, or never was; a closing session may have waited for that.
    fn chunk_over(&mut self, id: SessionId, chunk: ChunkId) {
        self.chunks.remove(&chunk);
        if let Some(&index) = self.names.get(&id)
            && let Some(session) = self.sessions[index].as_mut()
        {
            session.chunks -= 1;
            if session.is_over() {
                self.gone.push(index);
            }
        }
    }

    /// A chunk can be used; if its session is still there, vkmpsd is told.
    pub(crate) fn chunk_ready(&mut self, id: SessionId, chunk: ChunkId, memory: &Arc<Memory>) {
        self.disposal.awaits(chunk, memory);
        let Some(session) = self.session(id) else {
            return;
        };
        session.objects.chunks.insert(chunk, Arc::clone(memory));
        let exported = memory.export().ok();
        let message = FromEngine::ChunkReady {
            session: id,
            chunk,
            exported: exported.is_some(),
        };
        self.tell_with(message, exported);
    }

    /// A chunk, whoever owns it: whose buffers lie in it is vkmpsd's to know.
    fn chunk(&mut self, chunk: ChunkId) -> Option<Arc<Memory>> {
        let owner = *self.chunks.get(&chunk)?;
        self.session(owner)?.objects.chunks.get(&chunk).cloned()
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        let index = *self.names.get(&id)?;
        self.sessions[index]
            .as_mut()
            .filter(|session| !session.closing)
    }

    /// Sends a message to vkmpsd, in order, now or when its socket has room.
    pub(crate) fn tell(&mut self, message: FromEngine) {
        self.tell_with(message, None);
    }

    fn tell_with(&mut self, mut message: FromEngine, descriptor: Option<OwnedFd>) {
        shorten(&mut message);
        if let Ok(bytes) = vkmps_protocol::encode(&message) {
            self.outbox.push_back((bytes, descriptor));
        }
    }

    /// Sends what waits; false when some is left.
    pub(crate) fn flush(&mut self) -> Result<bool, Failure> {
        while let Some((bytes, descriptor)) = self.outbox.front() {
            let fds: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            match self.control.send(bytes, &fds) {
                Ok(()) => drop(self.outbox.pop_front()),
                // Too many descriptors on their way, maybe not even ours, is a full socket too.
                Err(error) if matches!(error.errno, Errno::EAGAIN | Errno::ETOOMANYREFS) => {
                    return Ok(false);
                }
                Err(error) if error.errno == Errno::EPIPE => return Err(Failure::Orphaned),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

fn share(weight: u16, cap_percent: u8) -> Share {
    Share {
        weight,
        cap: Some(cap_percent).filter(|percent| *percent != NO_CAP),
        reserve: 0,
    }
}

/// Enough of a hash to tell programs apart.
fn program_key(hash: ProgramHash) -> u64 {
    let first = hash.0.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

/// Texts from drivers have no limit of their own.
fn shorten(message: &mut FromEngine) {
    match message {
        FromEngine::StartFailed { text }
        | FromEngine::ChunkFailed { text, .. }
        | FromEngine::BlockFailed { text, .. }
        | FromEngine::PipelineFailed { text, .. }
        | FromEngine::SessionFault { text, .. }
        | FromEngine::DeviceLost { text } => {
            let end = text.floor_char_boundary(vkmps_protocol::limits::MAX_TEXT_BYTES);
            text.truncate(end);
        }
        _ => {}
    }
}
