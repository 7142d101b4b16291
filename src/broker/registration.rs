//! Programs: copied, hashed, compiled if new, made into a pipeline, handed to the session.

use crate::event::Event;
use crate::programs::{Source, Stage};
use crate::session::Pending;
use crate::{Action, Broker, CompileFailure, ConnectionId, failed};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{ProgramHash, ProgramId, SessionId};
use vkmps_protocol::limits::{MAX_BINDINGS, MAX_ENTRY_BYTES, MAX_MODULE_BYTES, MAX_SPECIALIZATION};
use vkmps_protocol::message::DaemonMessage;
use vkmps_protocol::program::Interface;
use vkmps_protocol::quota::{Excess, Limit};

impl Broker {
    pub(crate) fn register_program(&mut self, id: SessionId, source: Source) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(conn) = session.conn() else { return };
        if let Some(excess) = session.beyond_count(Limit::Programs) {
            let (code, text) = (ErrorCode::LimitReached, excess.to_string());
            return self.refuse_program(id, code, text, Some(excess));
        }
        if let Err((code, text)) = check(&source) {
            return self.refuse_program(id, code, text.to_owned(), None);
        }
        session.pending = Some(Pending::Module {
            source: source.clone(),
        });
        self.push(Action::CopyModule { conn, source });
    }

    pub(crate) fn module_copied(&mut self, conn: ConnectionId, hash: ProgramHash) {
        let Some((id, source)) = self.copied_for(conn) else {
            return;
        };
        if let Some((code, text)) = self.programs.quarantined(hash) {
            return self.refuse_program(id, code, text, None);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let uid = session.peer.uid;
        session.pending = Some(Pending::Program { hash });
        match self
            .programs
            .get_mut(hash)
            .map(|program| &mut program.stage)
        {
            Some(Stage::Ready) => self.hand_out(hash, id),
            Some(Stage::Compiling { waiters } | Stage::AtEngine { waiters }) => waiters.push(id),
            Some(Stage::Dormant) => self.request_pipeline(hash, vec![id]),
            None => {
                self.push(Action::KeepModule { conn, hash });
                self.programs.insert(hash, source, id);
                self.programs.queue.push(uid, hash);
                self.start_compilers();
            }
        }
    }

    pub(crate) fn module_unreadable(&mut self, conn: ConnectionId, text: String) {
        if let Some((id, _)) = self.copied_for(conn) {
            self.refuse_program(id, ErrorCode::InvalidModule, text, None);
        }
    }

    pub(crate) fn compiled(&mut self, hash: ProgramHash, interface: Interface) {
        if !self.programs.queue.finish(hash) {
            return;
        }
        let counts = interface
            .bindings
            .iter()
            .map(|binding| u64::from(binding.count));
        if counts.sum::<u64>() > MAX_BINDINGS as u64 {
            let text = format!("the module has more than {MAX_BINDINGS} bindings");
            self.fail_program(hash, ErrorCode::CompileFailed, &text);
        } else if let Some(program) = self.programs.get_mut(hash) {
            program.interface = interface;
            let waiters = match &mut program.stage {
                Stage::Compiling { waiters } => std::mem::take(waiters),
                _ => Vec::new(),
            };
            self.request_pipeline(hash, waiters);
        }
        self.start_compilers();
        self.evict_programs();
    }

    pub(crate) fn compile_failed(&mut self, hash: ProgramHash, failure: CompileFailure) {
        if let CompileFailure::Unread { .. } = &failure
            && let Some(source) = self.programs.compile_again(hash)
        {
            return self.push(Action::Compile { hash, source });
        }
        if !self.programs.queue.finish(hash) {
            return;
        }
        let (code, text) = match failure {
            CompileFailure::Refused { code, text } => (code, text),
            CompileFailure::NotStarted { text } | CompileFailure::Unread { text } => {
                (ErrorCode::System, text)
            }
            CompileFailure::Crashed => {
                let text = "the compiler crashed on this module".to_owned();
                self.quarantine(hash, ErrorCode::CompileFailed, &text);
                (ErrorCode::CompileFailed, text)
            }
            CompileFailure::TimedOut => {
                let code = ErrorCode::CompileTimeout;
                if self.programs.timed_out_again(hash) {
                    self.quarantine(hash, code, &code.to_string());
                }
                (code, code.to_string())
            }
        };
        self.fail_program(hash, code, &text);
        self.start_compilers();
    }

    pub(crate) fn pipeline_ready(&mut self, hash: ProgramHash) {
        let Some(program) = self.programs.get_mut(hash) else {
            return;
        };
        let Stage::AtEngine { waiters } = &mut program.stage else {
            return;
        };
        let waiters = std::mem::take(waiters);
        program.stage = Stage::Ready;
        for id in waiters {
            self.hand_out(hash, id);
        }
        self.programs.settle(hash);
        self.evict_programs();
    }

    pub(crate) fn pipeline_failed(&mut self, hash: ProgramHash, text: &str) {
        if matches!(
            self.programs.get(hash).map(|p| &p.stage),
            Some(Stage::AtEngine { .. })
        ) {
            self.fail_program(hash, ErrorCode::CompileFailed, text);
        }
    }

    pub(crate) fn release_program(&mut self, id: SessionId, program: ProgramId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(hash) = session.programs.remove(program.0) else {
            let code = ErrorCode::InvalidHandle;
            return self.answer(id, failed(code, code.to_string()));
        };
        self.push(Action::ToEngine(ToEngine::RemoveProgram {
            session: id,
            program,
        }));
        self.programs.unrefer(hash);
        self.answer(id, DaemonMessage::Done);
        self.evict_programs();
    }

    /// Asks the engine for a pipeline; without an engine the program sleeps until there is one.
    pub(crate) fn request_pipeline(&mut self, hash: ProgramHash, waiters: Vec<SessionId>) {
        let ready = self.engine.is_ready();
        let Some(program) = self.programs.get_mut(hash) else {
            return;
        };
        program.stage = if ready {
            Stage::AtEngine { waiters }
        } else {
            Stage::Dormant
        };
        self.programs.settle(hash);
        if ready && let Some(request) = self.programs.pipeline_request(hash) {
            self.push(Action::ToEngine(request));
        }
    }

    /// Starts what may be compiled now.
    pub(crate) fn start_compilers(&mut self) {
        if !self.engine.is_ready() {
            return;
        }
        while let Some(hash) = self.programs.queue.start() {
            if let Some(source) = self
                .programs
                .get(hash)
                .map(|program| program.source.clone())
            {
                self.push(Action::Compile { hash, source });
            }
        }
    }

    /// Gives up what the daemon keeps too much of.
    pub(crate) fn evict_programs(&mut self) {
        while let Some(hash) = self.programs.superfluous() {
            let at_engine = matches!(
                self.programs.get(hash).map(|p| &p.stage),
                Some(Stage::Ready)
            );
            if at_engine && self.engine.is_ready() {
                self.push(Action::ToEngine(ToEngine::RemovePipeline { hash }));
            }
            self.forget_program(hash);
        }
    }

    pub(crate) fn quarantine(&mut self, hash: ProgramHash, code: ErrorCode, text: &str) {
        self.programs.quarantine(hash, code, text);
        self.log(Event::ProgramQuarantined {
            hash,
            text: text.to_owned(),
        });
    }

    /// The session whose module was being copied, and what it asked for.
    fn copied_for(&self, conn: ConnectionId) -> Option<(SessionId, Source)> {
        let crate::session::ConnectionStage::Session(id) = self.connections.get(&conn)?.stage
        else {
            return None;
        };
        match &self.sessions.get(&id)?.pending {
            Some(Pending::Module { source }) => Some((id, source.clone())),
            _ => None,
        }
    }

    fn hand_out(&mut self, hash: ProgramHash, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(interface) = self
            .programs
            .get(hash)
            .map(|program| program.interface.clone())
        else {
            return;
        };
        let program = ProgramId(session.programs.insert(hash));
        let client = session.client(id);
        self.programs.refer(hash);
        // The engine hears of the handle before the client can dispatch it.
        self.push(Action::ToEngine(ToEngine::AddProgram {
            session: id,
            program,
            hash,
        }));
        self.answer(id, DaemonMessage::ProgramReady { program, interface });
        self.log(Event::ProgramRegistered { client, hash });
    }

    /// A program cannot be made: everyone who waits is told, nothing of it stays.
    fn fail_program(&mut self, hash: ProgramHash, code: ErrorCode, text: &str) {
        let waiters = self.programs.waiters(hash).to_vec();
        self.forget_program(hash);
        for id in waiters {
            self.refuse_program(id, code, text.to_owned(), None);
        }
    }

    fn refuse_program(
        &mut self,
        id: SessionId,
        code: ErrorCode,
        text: String,
        excess: Option<Excess>,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let client = session.client(id);
        self.log(Event::ProgramRefused {
            client,
            code,
            text: text.clone(),
            limit: excess.map(|excess| excess.limit),
        });
        self.answer(id, DaemonMessage::Failed { code, text, excess });
    }
}

/// What can be said against a request before its module is read.
fn check(source: &Source) -> Result<(), (ErrorCode, &'static str)> {
    if source.module_bytes > MAX_MODULE_BYTES {
        return Err((ErrorCode::LimitReached, "the module is larger than 16 MiB"));
    }
    if source.module_bytes == 0 || !source.module_bytes.is_multiple_of(4) {
        return Err((
            ErrorCode::InvalidModule,
            "the module is no whole number of 32-bit words",
        ));
    }
    if source.entry.len() > MAX_ENTRY_BYTES {
        return Err((
            ErrorCode::LimitReached,
            "the entry point's name is longer than 128 bytes",
        ));
    }
    if source.specialization.len() > MAX_SPECIALIZATION {
        return Err((
            ErrorCode::LimitReached,
            "more than 64 specialization constants",
        ));
    }
    Ok(())
}
