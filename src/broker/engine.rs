//! The engine's side: what it says, and what its death means.

use crate::event::Event;
use crate::memory::{Budget, Pool};
use crate::{Action, Broker, Drain};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::FromEngine;
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
    Ready { device: DeviceDescription },
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
            FromEngine::Ready { device, extensions } => {
                self.engine_ready(device, extensions);
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
            FromEngine::DeviceLost { text } => self.log(Event::DeviceLost { text }),
            // The link to the engine drops it.
            FromEngine::Reserved => {}
        }
    }

    fn engine_ready(&mut self, device: DeviceDescription, extensions: Vec<String>) {
        if self.engine.is_ready() || self.drain != Drain::No {
            return;
        }
        let pool = |limit_bytes| Pool {
            limit_bytes,
            used_bytes: 0,
        };
        self.budget = Budget {
            device: pool(device.device_memory_bytes),
            shared: pool(device.host_memory_bytes),
        };
        self.engine = Engine::Ready {
            device: device.clone(),
        };
        self.log(Event::EngineReady { device, extensions });
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
        if self.engine.is_ready() || self.drain != Drain::No {
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
        match (&self.engine, self.drain) {
            (_, Drain::Draining) => return self.finish_draining(),
            (_, Drain::Done) | (Engine::Failed { .. }, Drain::No) => return,
            (Engine::Starting, Drain::No) => {
                return self
                    .engine_not_started(format!("the engine died while it started: {reason}"));
            }
            (Engine::Ready { .. }, Drain::No) => {}
        }
        self.engine = Engine::Starting;
        self.log(Event::EngineDied {
            reason,
            sessions: self.sessions.len(),
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
        self.end_session(id, ErrorCode::Protocol, text);
    }

    /// Forgets a program that nothing refers to.
    pub(crate) fn forget_program(&mut self, hash: ProgramHash) {
        if self.programs.remove(hash).is_some() {
            self.push(Action::DropProgram { hash });
        }
    }
}
