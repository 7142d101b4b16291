//! The descriptors that the daemon keeps for sessions and programs; the broker knows them by name only.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use vkmps_broker::Resource;
use vkmps_ipc::SystemError;
use vkmps_ipc::memory::{read_only, sealed_memfd};
use vkmps_ipc::ring::SessionRegion;
use vkmps_ipc::wake::eventfd;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::{ChunkSource, ToEngine};
use vkmps_protocol::handle::{ChunkId, ProgramHash, SessionId};
use vkmps_protocol::message::{DaemonMessage, Priority};
use vkmps_protocol::ring::REGION_BYTES;
use vkmps_protocol::sharing::Grant;

/// Everything kept.
#[derive(Debug)]
pub(crate) struct Resources {
    arena_bytes: u64,
    sessions: HashMap<SessionId, SessionFiles>,
    programs: HashMap<ProgramHash, ProgramFiles>,
    /// Files of buffers that may be shared, by their chunks.
    shares: HashMap<ChunkId, OwnedFd>,
}

/// Of one session.
#[derive(Debug)]
struct SessionFiles {
    region: OwnedFd,
    mapped: SessionRegion,
    doorbell: OwnedFd,
    arena: Option<OwnedFd>,
}

/// Of one program.
#[derive(Debug)]
enum ProgramFiles {
    /// The client's module, to be compiled.
    Source(OwnedFd),
    /// The rewritten module and the pipeline cache.
    Compiled([OwnedFd; 2]),
}

impl Resources {
    pub(crate) fn new(arena_bytes: u64) -> Self {
        Self {
            arena_bytes,
            sessions: HashMap::new(),
            programs: HashMap::new(),
            shares: HashMap::new(),
        }
    }

    /// Makes a resource of a session.
    pub(crate) fn create(
        &mut self,
        session: SessionId,
        resource: Resource,
    ) -> Result<(), SystemError> {
        match resource {
            Resource::Region => {
                let region = sealed_memfd("vkmps-rings", REGION_BYTES as u64)?;
                let mapped = SessionRegion::map(&region)?;
                let files = SessionFiles {
                    region,
                    mapped,
                    doorbell: eventfd()?,
                    arena: None,
                };
                self.sessions.insert(session, files);
            }
            Resource::Arena => {
                let arena = sealed_memfd("vkmps-arena", self.arena_bytes)?;
                if let Some(files) = self.sessions.get_mut(&session) {
                    files.arena = Some(arena);
                }
            }
            Resource::Share { chunk, bytes } => {
                let file = sealed_memfd("vkmps-share", bytes)?;
                self.shares.insert(chunk, file);
            }
        }
        Ok(())
    }

    /// Tells all who map the session's region that it is over.
    pub(crate) fn end(&self, session: SessionId, code: ErrorCode) {
        if let Some(files) = self.sessions.get(&session) {
            files.mapped.end(code);
        }
    }

    pub(crate) fn set_lane(&self, session: SessionId, priority: Priority, demoted: bool) {
        if let Some(files) = self.sessions.get(&session) {
            files.mapped.set_lane(priority, demoted);
        }
    }

    pub(crate) fn release(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    pub(crate) fn drop_share(&mut self, chunk: ChunkId) {
        self.shares.remove(&chunk);
    }

    /// A descriptor of a shared buffer's file; `None` if it is not there.
    pub(crate) fn share(&self, chunk: ChunkId, grant: Grant) -> Option<OwnedFd> {
        let file = self.shares.get(&chunk)?;
        let descriptor = match grant {
            Grant::ReadWrite => Ok(file.try_clone().ok()?),
            Grant::ReadOnly => read_only(file),
        };
        descriptor
            .inspect_err(|error| tracing::error!(%error, "no descriptor for a reader"))
            .ok()
    }

    pub(crate) fn keep_module(&mut self, hash: ProgramHash, module: OwnedFd) {
        self.programs.insert(hash, ProgramFiles::Source(module));
    }

    /// The module to be compiled.
    pub(crate) fn module(&self, hash: ProgramHash) -> Option<BorrowedFd<'_>> {
        match self.programs.get(&hash)? {
            ProgramFiles::Source(module) => Some(module.as_fd()),
            ProgramFiles::Compiled(_) => None,
        }
    }

    /// Keeps a compiler's result in the module's place; a program that was dropped meanwhile stays so.
    pub(crate) fn keep_compiled(&mut self, hash: ProgramHash, files: [OwnedFd; 2]) {
        if let Some(kept) = self.programs.get_mut(&hash) {
            *kept = ProgramFiles::Compiled(files);
        }
    }

    pub(crate) fn drop_program(&mut self, hash: ProgramHash) {
        self.programs.remove(&hash);
    }

    /// What goes with a message to the engine; `None` if it is not there.
    pub(crate) fn for_engine(&self, message: &ToEngine) -> Option<Vec<BorrowedFd<'_>>> {
        Some(match message {
            ToEngine::AddSession { session, .. } => {
                let files = self.sessions.get(session)?;
                vec![files.region.as_fd(), files.doorbell.as_fd()]
            }
            ToEngine::AddChunk {
                session,
                source: ChunkSource::Arena { .. },
                ..
            } => {
                vec![self.sessions.get(session)?.arena.as_ref()?.as_fd()]
            }
            ToEngine::AddChunk {
                chunk,
                source: ChunkSource::File,
                ..
            } => vec![self.shares.get(chunk)?.as_fd()],
            ToEngine::AddPipeline { hash, .. } => match self.programs.get(hash)? {
                ProgramFiles::Compiled([module, cache]) => vec![module.as_fd(), cache.as_fd()],
                ProgramFiles::Source(_) => return None,
            },
            _ => Vec::new(),
        })
    }

    /// What goes with a message to the client of a session; `None` if it is not there.
    pub(crate) fn for_client(
        &self,
        session: Option<SessionId>,
        message: &DaemonMessage,
    ) -> Option<Vec<BorrowedFd<'_>>> {
        Some(match message {
            DaemonMessage::Welcome { session, .. } => {
                let files = self.sessions.get(session)?;
                vec![files.region.as_fd(), files.doorbell.as_fd()]
            }
            DaemonMessage::BufferReady {
                with_arena: true, ..
            } => {
                vec![self.sessions.get(&session?)?.arena.as_ref()?.as_fd()]
            }
            _ => Vec::new(),
        })
    }
}
