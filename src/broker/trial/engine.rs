//! A model of an engine: it takes every message as strictly as the real one, and stricter.

use super::world::{DEVICE_BYTES, Job, World};
use crate::*;
use std::collections::BTreeSet;
use vkmps_protocol::engine::{ChunkSource, FromEngine, GlobalPriority, Ranks};
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::{BufferId, ChunkId};
use vkmps_protocol::message::DeviceDescription;

#[derive(Debug, Default)]
pub(super) struct EngineModel {
    pub(super) sessions: BTreeMap<SessionId, Priority>,
    pub(super) chunks: BTreeMap<(SessionId, ChunkId), u64>,
    pub(super) buffers: BTreeMap<(SessionId, BufferId), (ChunkId, u64, u64)>,
    /// Blocks, with the user of each once it has one.
    pub(super) blocks: BTreeMap<ChunkId, (u64, Option<u32>)>,
    /// Block, offset and length of what is not clean.
    pub(super) dirty: BTreeSet<(ChunkId, u64, u64)>,
    /// Users of sessions.
    owners: BTreeMap<SessionId, u32>,
    pub(super) pipelines: BTreeSet<ProgramHash>,
    /// What it was told last.
    pub(super) policy: Option<ToEngine>,
    pub(super) shares: BTreeMap<SessionId, (u16, u8)>,
    /// Streams, submits.
    pub(super) counts: BTreeMap<SessionId, (u32, u32)>,
    pub(super) users: BTreeMap<u32, (u16, u8, u8)>,
    /// Caps of sessions with others.
    pub(super) groups: BTreeMap<SessionId, (GroupId, u8)>,
}

impl World {
    pub(super) fn start_engine(&mut self) {
        if self.engine.is_some() {
            return;
        }
        self.engine = Some(EngineModel::default());
        let device = DeviceDescription {
            device_memory_bytes: DEVICE_BYTES,
            host_memory_bytes: DEVICE_BYTES,
            ..DeviceDescription::default()
        };
        self.input(Input::Engine(FromEngine::Ready {
            device,
            extensions: vec!["VK_KHR_push_descriptor".to_owned()],
            warnings: vec!["seccomp".to_owned()],
            max_allocations: self.max_allocations,
            ranks: Ranks {
                global: vec![GlobalPriority::High, GlobalPriority::Medium],
                refusals: Vec::new(),
            },
        }));
    }

    pub(super) fn kill_engine(&mut self, suspects: &[ProgramHash]) {
        if self.engine.take().is_some() {
            self.jobs
                .retain(|job| !matches!(job, Job::Engine(_) | Job::Scrub(..)));
            let suspects = suspects.to_vec();
            self.input(Input::EngineGone {
                reason: "killed".to_owned(),
                suspects,
            });
        }
    }

    pub(super) fn tell_engine(&mut self, message: ToEngine) {
        let engine = self
            .engine
            .as_mut()
            .expect("nothing is sent to an engine that is not there");
        match &message {
            ToEngine::AddSession {
                session,
                priority,
                uid,
                weight,
                cap_percent,
                ..
            } => {
                assert!(engine.policy.is_some(), "an engine that knows no policy");
                assert!(engine.users.contains_key(uid), "a session of a stranger");
                engine.owners.insert(*session, *uid);
                engine.shares.insert(*session, (*weight, *cap_percent));
                engine.counts.insert(*session, (256, 32_768));
                assert!(engine.sessions.insert(*session, *priority).is_none());
            }
            ToEngine::SetPolicy { .. } => engine.policy = Some(message),
            ToEngine::SetPriority { session, priority } => {
                let before = engine.sessions.insert(*session, *priority);
                assert!(before.is_some_and(|before| before != *priority));
            }
            ToEngine::RemoveSession { session } => {
                assert!(engine.sessions.remove(session).is_some());
                engine.chunks.retain(|(owner, _), _| owner != session);
                let mut freed = Vec::new();
                engine.buffers.retain(|(owner, _), place| {
                    let of_session = owner == session;
                    freed.extend(of_session.then_some(*place));
                    !of_session
                });
                let drained = freed.into_iter().filter_map(|place| engine.drain(place));
                self.jobs.extend(drained);
                self.jobs.push_back(Job::Engine(message));
            }
            ToEngine::AddChunk {
                session,
                source,
                chunk,
                ..
            } => {
                assert!(engine.sessions.contains_key(session));
                assert!(!matches!(source, ChunkSource::Arena { offset } if offset % 65536 != 0));
                assert!(*source != ChunkSource::File || self.files.contains(chunk));
                self.jobs.push_back(Job::Engine(message));
            }
            ToEngine::RemoveChunk { session, chunk } => {
                assert!(engine.chunks.remove(&(*session, *chunk)).is_some());
                assert!(
                    engine
                        .buffers
                        .iter()
                        .all(|((s, _), (c, ..))| s != session || c != chunk)
                );
                self.jobs.push_back(Job::Engine(message));
            }
            ToEngine::AddBuffer {
                session,
                buffer,
                chunk,
                offset,
                bytes,
                grant: _,
            } => {
                let end = offset + bytes.next_multiple_of(256);
                if let Some((block_bytes, user)) = engine.blocks.get_mut(chunk) {
                    let uid = engine.owners[session];
                    assert_eq!(*user.get_or_insert(uid), uid, "users share a block");
                    assert!(end <= *block_bytes);
                    let apart = |start: u64, length: u64| start + length <= *offset || end <= start;
                    for (other, start, length) in engine.buffers.values() {
                        assert!(other != chunk || apart(*start, length.next_multiple_of(256)));
                    }
                    for (other, start, length) in &engine.dirty {
                        assert!(other != chunk || apart(*start, *length), "it is not clean");
                    }
                    let placed = (*chunk, *offset, *bytes);
                    assert!(engine.buffers.insert((*session, *buffer), placed).is_none());
                    return;
                }
                let of_chunk = |((_, other), bytes): (&(SessionId, ChunkId), &u64)| {
                    (other == chunk).then_some(*bytes)
                };
                let chunk_bytes = engine.chunks.iter().find_map(of_chunk);
                assert!(offset + bytes <= chunk_bytes.expect("a chunk that the engine has"));
                for ((owner, _), (other, start, length)) in &engine.buffers {
                    let same = owner == session && other == chunk;
                    let shared = self.files.contains(chunk);
                    assert!(
                        shared || !same || start + length <= *offset || offset + bytes <= *start
                    );
                }
                let placed = (*chunk, *offset, *bytes);
                assert!(engine.buffers.insert((*session, *buffer), placed).is_none());
            }
            ToEngine::RemoveBuffer { session, buffer } => {
                let place = engine.buffers.remove(&(*session, *buffer));
                let drained = engine.drain(place.expect("a buffer that the engine has"));
                self.jobs.extend(drained);
                // Freed by its owner, or revoked.
                for link in self.links.values_mut() {
                    if link.session == Some(*session) {
                        link.buffers.remove(buffer);
                    }
                }
            }
            ToEngine::AddPipeline { hash, .. } => {
                assert!(self.kept.contains(hash));
                self.jobs.push_back(Job::Engine(message));
            }
            ToEngine::RemovePipeline { hash } => assert!(engine.pipelines.remove(hash)),
            ToEngine::AddProgram { session, hash, .. } => {
                assert!(engine.sessions.contains_key(session) && engine.pipelines.contains(hash));
            }
            ToEngine::RemoveProgram { session, .. } => {
                assert!(engine.sessions.contains_key(session));
            }
            ToEngine::Stop => self.jobs.push_back(Job::Engine(message)),
            ToEngine::SetClientShare {
                session,
                weight,
                cap_percent,
            } => {
                let share = (*weight, *cap_percent);
                let before = engine.shares.insert(*session, share);
                assert!(before.is_some_and(|before| before != share));
            }
            ToEngine::SetSessionLimits {
                session,
                streams,
                submits,
            } => {
                let counts = (*streams, *submits);
                let before = engine.counts.insert(*session, counts);
                assert!(before.is_some_and(|before| before != counts));
            }
            ToEngine::JoinGroup {
                session,
                group,
                cap_percent,
            } => {
                assert!(engine.sessions.contains_key(session));
                let before = engine.groups.insert(*session, (*group, *cap_percent));
                assert!(before.is_none(), "it is said once");
            }
            ToEngine::SetUserShare {
                uid,
                weight,
                cap_percent,
                reserve_percent,
            } => {
                let share = (*weight, *cap_percent, *reserve_percent);
                engine.users.insert(*uid, share);
            }
            ToEngine::AddBlock { .. } => self.jobs.push_back(Job::Engine(message)),
            ToEngine::RemoveBlock { chunk } => {
                assert!(engine.blocks.remove(chunk).is_some());
                engine.dirty.retain(|(block, ..)| block != chunk);
                self.jobs.push_back(Job::Engine(message));
            }
            ToEngine::Start | ToEngine::Ping { .. } | ToEngine::Reserved => {
                panic!("not the broker's to send")
            }
        }
    }

    pub(super) fn engine_reply(&mut self, message: &ToEngine, succeed: bool) -> Option<FromEngine> {
        let text = "it was told to fail".to_owned();
        let engine = self.engine.as_mut()?;
        Some(match *message {
            ToEngine::RemoveSession { session } => FromEngine::SessionRemoved { session },
            ToEngine::AddChunk {
                session,
                chunk,
                bytes,
                ..
            } if succeed => {
                if engine.sessions.contains_key(&session) {
                    engine.chunks.insert((session, chunk), bytes);
                }
                FromEngine::ChunkReady {
                    session,
                    chunk,
                    exported: false,
                }
            }
            ToEngine::AddChunk { session, chunk, .. } => FromEngine::ChunkFailed {
                session,
                chunk,
                code: ErrorCode::OutOfDeviceMemory,
                text,
            },
            ToEngine::RemoveChunk { session, chunk } => FromEngine::ChunkRemoved { session, chunk },
            ToEngine::AddBlock { chunk, bytes } if succeed => {
                engine.blocks.insert(chunk, (bytes, None));
                FromEngine::BlockReady { chunk }
            }
            ToEngine::AddBlock { chunk, .. } => FromEngine::BlockFailed {
                chunk,
                code: ErrorCode::OutOfDeviceMemory,
                text,
            },
            ToEngine::RemoveBlock { chunk } => FromEngine::BlockRemoved { chunk },
            ToEngine::AddPipeline { hash, .. } if succeed => {
                engine.pipelines.insert(hash);
                FromEngine::PipelineReady { hash }
            }
            ToEngine::AddPipeline { hash, .. } => FromEngine::PipelineFailed { hash, text },
            ToEngine::Stop => {
                self.kill_engine(&[]);
                return None;
            }
            _ => return None,
        })
    }
}

impl EngineModel {
    /// A buffer was freed: what has to be done if it was in a block.
    fn drain(&mut self, (chunk, offset, bytes): (ChunkId, u64, u64)) -> Option<Job> {
        self.blocks.get(&chunk)?;
        self.dirty
            .insert((chunk, offset, bytes.next_multiple_of(256)));
        Some(Job::Scrub(chunk, offset))
    }

    /// What vkmpsd is told of a piece that is clean, if its block is still there.
    pub(super) fn scrub(&mut self, chunk: ChunkId, offset: u64) -> Option<FromEngine> {
        self.blocks.get(&chunk)?;
        self.dirty
            .retain(|(block, start, _)| (*block, *start) != (chunk, offset));
        let offsets = vec![offset];
        Some(FromEngine::Scrubbed { chunk, offsets })
    }
}
