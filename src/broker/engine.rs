//! The engine's side: what it says, and what its death means.

use crate::event::{Cause, Event};
use crate::memory::{Budget, Pieces, Pool};
use crate::{Action, Broker, Leaving};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::{FromEngine, Ranks};
use vkmps_protocol::handle::{ProgramHash, SessionId};
use vkmps_protocol::message::{DeviceDescription, MemoryClass};

/// Whether there is an engine.
#[derive(Debug)]
pub(crate) enum Engine {
    /// It is expected; clients wait.
    Starting,
    /// It could not be started; clients are refused until one can.
    Failed { text: String },
    /// It serves.
    Ready {
        device: DeviceDescription,
        extensions: Vec<String>,
        /// Checks of its sandbox that failed and are only warned of.
        warnings: Vec<String>,
        ranks: Ranks,
    },
}

impl Engine {
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Engine::Ready { .. })
    }

    /// The class that a request for `class` gets.
    pub(crate) fn class(&self, class: MemoryClass) -> MemoryClass {
        match self {
            Engine::Ready { device, .. } if device.unified => MemoryClass::Shared,
            _ => class,
        }
    }

    /// The error when there is no more of a class.
    pub(crate) fn exhausted(&self, class: MemoryClass) -> ErrorCode {
        match (self, class) {
            (Engine::Ready { device, .. }, MemoryClass::Shared) if !device.unified => {
                ErrorCode::OutOfHostMemory
            }
            _ => ErrorCode::OutOfDeviceMemory,
        }
    }
}

impl Broker {
    pub(crate) fn engine_message(&mut self, message: FromEngine) {
        match message {
            FromEngine::Ready {
                device,
                extensions,
                warnings,
                max_allocations,
                ranks,
            } => {
                let pieces = Pieces::of_device(max_allocations);
                self.engine_ready(device, extensions, warnings, ranks, pieces);
            }
            FromEngine::StartFailed { text } => self.engine_not_started(text),
            FromEngine::SessionRemoved { session } => self.session_removed(session),
            FromEngine::ChunkReady {
                session,
                chunk,
                exported: _,
            } => {
                self.chunk_ready(session, chunk);
            }
            FromEngine::ChunkFailed {
                session,
                chunk,
                code,
                text,
            } => {
                self.chunk_failed(session, chunk, code, text);
            }
            FromEngine::BlockReady { chunk } => self.block_ready(chunk),
            FromEngine::BlockFailed { chunk, code, text } => {
                self.block_failed(chunk, code, &text);
            }
            FromEngine::BlockRemoved { chunk } => self.block_removed(chunk),
            FromEngine::Scrubbed { chunk, offsets } => self.scrubbed(chunk, &offsets),
            FromEngine::ChunkRemoved { session, chunk } => self.chunk_removed(session, chunk),
            FromEngine::PipelineReady { hash } => self.pipeline_ready(hash),
            FromEngine::PipelineFailed { hash, text } => self.pipeline_failed(hash, &text),
            FromEngine::SessionFault { session, text } => self.session_fault(session, text),
            FromEngine::SubmitRefused {
                session,
                stream,
                value,
                code,
                suppressed,
            } => {
                if let Some(client) = self.sessions.get(&session).map(|s| s.client(session)) {
                    self.log(Event::SubmitRefused {
                        client,
                        stream,
                        value,
                        code,
                        suppressed,
                    });
                }
            }
            FromEngine::Demoted { session, demoted } => self.demoted(session, demoted),
            FromEngine::DeviceLost { text } => self.log(Event::DeviceLost { text }),
            // The link to the engine drops the one and takes the other.
            FromEngine::Reserved | FromEngine::Pong { .. } => {}
        }
    }

    fn engine_ready(
        &mut self,
        device: DeviceDescription,
        extensions: Vec<String>,
        warnings: Vec<String>,
        ranks: Ranks,
        chunks: Pieces,
    ) {
        if self.engine.is_ready() || self.leaving != Leaving::No {
            return;
        }
        let pool = |limit_bytes| Pool {
            limit_bytes,
            used_bytes: 0,
        };
        self.budget = Budget {
            device: pool(match device.unified {
                true => 0,
                false => device.device_memory_bytes,
            }),
            shared: pool(device.host_memory_bytes),
            chunks,
        };
        self.refresh_users(None);
        self.engine = Engine::Ready {
            device: device.clone(),
            extensions: extensions.clone(),
            warnings: warnings.clone(),
            ranks: ranks.clone(),
        };
        self.log(Event::EngineReady {
            device,
            extensions,
            warnings,
            ranks,
        });
        self.send_policy();
        for hash in self.programs.dormant() {
            self.request_pipeline(hash, Vec::new());
        }
        for conn in self.waiting_connections() {
            self.open_session(conn);
        }
        // Jobs that nobody could be given while no engine said what its device can do.
        self.start_compilers();
    }

    fn engine_not_started(&mut self, text: String) {
        if self.engine.is_ready() || self.leaving != Leaving::No {
            return;
        }
        let known = matches!(&self.engine, Engine::Failed { text: known } if *known == text);
        if !known {
            self.log(Event::EngineNotStarted { text: text.clone() });
        }
        self.refuse_waiting(ErrorCode::NoDevice, &text);
        self.engine = Engine::Failed { text };
    }

    pub(crate) fn engine_gone(&mut self, reason: String, suspects: &[ProgramHash]) {
        match (&self.engine, self.leaving) {
            (_, Leaving::Stopping) => return self.finish_stopping(),
            (_, Leaving::Done) | (Engine::Failed { .. }, Leaving::No) => return,
            (Engine::Starting, Leaving::No) => {
                return self
                    .engine_not_started(format!("the engine died while it started: {reason}"));
            }
            (Engine::Ready { .. }, Leaving::No) => {}
        }
        self.engine = Engine::Starting;
        self.forget_introductions();
        self.log(Event::EngineDied {
            reason,
            sessions: self.sessions().count(),
        });
        self.end_all_sessions(ErrorCode::EngineLost);
        for hash in self.programs.engine_gone(suspects) {
            let text = "the engine died twice while it made this program";
            self.quarantine(hash, ErrorCode::CompileFailed, text);
            self.forget_program(hash);
        }
        self.evict_programs();
    }

    fn session_fault(&mut self, id: SessionId, text: String) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.conn().is_none() {
            return;
        }
        let client = session.client(id);
        self.log(Event::ProtocolViolation {
            client,
            text: text.clone(),
        });
        let code = ErrorCode::Protocol;
        self.end_session(id, Cause::Ended(code), code, text);
    }

    /// Forgets a program that nothing refers to.
    pub(crate) fn forget_program(&mut self, hash: ProgramHash) {
        if self.programs.remove(hash).is_some() {
            self.push(Action::DropProgram { hash });
        }
    }
}
