//! Sessions, programs, memory and policy of vkmpsd as a pure state machine: no clock, no socket, no Vulkan.
//!
//! [`Broker::handle`] takes one [`Input`] and says what to do about it, as [`Action`]s in order. Descriptors never come
//! in here: the caller keeps them by session and by program hash, and a message says by its kind which of them it
//! carries.
//!
//! ```text
//! connection: opened -> awaiting Hello -> (waiting for the engine) -> session -> closed
//! session:    creating its region -> open -> closing (until the engine has let go) -> gone
//! admission:  open <-> closed (newcomers are refused, sessions go on)
//! daemon:     serving -> stopping (work in flight ends) -> done
//! program:    compiling -> at the engine -> ready <-> idle -> evicted;  engine dies: dormant -> at the engine
//! chunk:      (waiting for room) -> (arena made) -> asked of the engine -> ready -> leaving -> gone
//! ```
#![forbid(unsafe_code)]

mod action;
mod administration;
mod admission;
mod allocation;
mod blocks;
mod compile_queue;
mod engine;
mod event;
mod groups;
mod limits;
mod memory;
mod programs;
mod quota;
mod ranges;
mod registration;
mod room;
mod session;
mod shares;
mod sharing;
#[cfg(test)]
mod trial;
mod view;

pub use action::{Action, CompileFailure, ConnectionId, Input, Peer, Resource};
pub use admission::Admission;
pub use compile_queue::MAX_COMPILERS;
pub use event::{Cause, Client, Event};
pub use groups::{GroupEnd, GroupView};
pub use limits::{
    Change, ClientChanges, ClientLimits, ClientSettings, Limits, Rule, UserChanges, UserLimits,
    UserSettings,
};
pub use memory::MemoryBytes;
pub use programs::Source;
pub use quota::UserView;
pub use shares::Policy;
pub use view::SessionView;

use blocks::Blocks;
use engine::Engine;
use groups::Groups;
use memory::{Budget, Home};
use programs::Programs;
use quota::Quotas;
use room::Waiting;
use session::{Connection, ConnectionStage, Pending, Phase, Session};
use sharing::Share;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{ProgramHash, SessionId};
use vkmps_protocol::limits::MAX_SESSIONS;
use vkmps_protocol::message::{ClientMessage, DaemonMessage, MemoryClass, Priority};
use vkmps_protocol::quota::Excess;
use vkmps_protocol::sharing::ShareName;
use vkmps_protocol::token::Pass;

/// What the administrator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address space of a session's shared memory; sparse, so it may exceed what the host has.
    pub arena_bytes: u64,
    /// Highest priority that a client of a user other than root is granted, unless a rule says otherwise.
    pub max_priority: Priority,
    /// What clients and users may have.
    pub limits: Limits,
    /// Sessions at one time, up to [`MAX_SESSIONS`].
    pub max_sessions: usize,
    /// Sessions of one user other than root at one time, up to [`vkmps_protocol::limits::MAX_SESSIONS_PER_UID`].
    pub max_sessions_per_uid: usize,
    /// What all must know who connect.
    pub pass: Option<Pass>,
    /// How the device's time is shared.
    pub policy: Policy,
    /// Where yield points go. No effect yet: the shader passes' issue.
    pub instrumentation: Instrumentation,
}

/// How yield points are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Instrumentation {
    /// Every loop.
    #[default]
    EveryLoop,
    /// By submodular selection.
    Submodular,
}

/// The state of the daemon.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    engine: Engine,
    admission: Admission,
    leaving: Leaving,
    connections: BTreeMap<ConnectionId, Connection>,
    sessions: BTreeMap<SessionId, Session>,
    /// Slots of the ledger that no session has.
    free_slots: BTreeSet<u32>,
    next_session: u64,
    next_chunk: u64,
    programs: Programs,
    budget: Budget,
    quotas: Quotas,
    groups: Groups,
    /// By user.
    blocks: BTreeMap<u32, Blocks>,
    shares: BTreeMap<ShareName, Share>,
    /// Sessions that wait for room, the longest first.
    waiting: VecDeque<Waiting>,
    /// When the last input came.
    now: Duration,
    actions: Vec<Action>,
}

/// Whether the daemon is leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// Work in flight is waited for.
    Stopping,
    Done,
}

impl Broker {
    /// A broker without clients and without an engine, which is awaited.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            engine: Engine::Starting,
            admission: Admission::Open,
            leaving: Leaving::No,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            free_slots: (0..).take(MAX_SESSIONS).collect(),
            next_session: 1,
            next_chunk: 1,
            programs: Programs::default(),
            budget: Budget::default(),
            quotas: Quotas::default(),
            groups: Groups::default(),
            blocks: BTreeMap::new(),
            shares: BTreeMap::new(),
            waiting: VecDeque::new(),
            now: Duration::ZERO,
            actions: Vec::new(),
        }
    }

    /// Takes something in and says what to do. `now` is any clock that does not go back.
    pub fn handle(&mut self, input: Input, now: Duration) -> impl Iterator<Item = Action> + use<> {
        self.now = now;
        match input {
            Input::ConnectionOpened { conn, peer, groups } => {
                self.connection_opened(conn, peer, groups, now);
            }
            Input::Message { conn, message } => self.message(conn, message),
            Input::BadMessage { conn, error } => self.violation(conn, &error.to_string()),
            Input::ConnectionClosed { conn } => self.connection_closed(conn, Cause::HangUp),
            Input::ConnectionStalled { conn } => self.connection_closed(conn, Cause::Stalled),
            Input::Created { session, resource } => self.created(session, resource),
            Input::NotCreated {
                session,
                resource,
                text,
            } => self.not_created(session, resource, text),
            Input::ModuleCopied { conn, hash } => self.module_copied(conn, hash),
            Input::ModuleUnreadable { conn, text } => self.module_unreadable(conn, text),
            Input::Engine(message) => self.engine_message(message),
            Input::EngineGone { reason, suspects } => self.engine_gone(reason, &suspects),
            Input::Compiled { hash, interface } => self.compiled(hash, interface),
            Input::CompileFailed { hash, failure } => self.compile_failed(hash, failure),
            Input::Tick => {
                self.refuse_silent_connections(now);
                self.refuse_late();
                self.expire_groups();
            }
            Input::SetPriority { session, priority } => self.set_priority(session, priority),
            Input::SetLimits {
                session,
                changes,
                by_owner,
            } => self.set_limits(session, &changes, by_owner),
            Input::SetUserLimits { uid, changes } => self.set_user_limits(uid, &changes),
            Input::SetDefaultLimits(changes) => self.set_default_limits(&changes),
            Input::SetPolicy(policy) => self.set_policy(policy),
            Input::Terminate { session } => self.terminate(session),
            Input::OpenGroup { peer, group } => self.open_group(peer, group),
            Input::ReleaseGroup { group } => self.end_group(group, GroupEnd::Released),
            Input::SetAdmission(admission) => self.set_admission(admission),
            Input::Configure(config) => self.configure(config),
            Input::Stop => self.start_stopping(),
            Input::StopDeadline => self.finish_stopping(),
        }
        std::mem::take(&mut self.actions).into_iter()
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let deadline = |connection: &Connection| match connection.stage {
            ConnectionStage::AwaitingHello { deadline } => Some(deadline),
            _ => None,
        };
        let room = self.waiting.front().map(|waiting| waiting.deadline);
        let hellos = self.connections.values().filter_map(deadline);
        hellos.chain(room).chain(self.group_deadline()).min()
    }

    fn message(&mut self, conn: ConnectionId, message: ClientMessage) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        match (&connection.stage, message) {
            (_, ClientMessage::Reserved) => self.violation(conn, "a message of zeros"),
            (ConnectionStage::AwaitingHello { .. }, ClientMessage::Hello(hello)) => {
                self.hello(conn, &hello);
            }
            (ConnectionStage::AwaitingHello { .. }, ClientMessage::OpenGroup(open)) => {
                self.open_group_for(conn, open);
            }
            (_, ClientMessage::Hello(_) | ClientMessage::OpenGroup(_)) => {
                self.violation(conn, "a second greeting");
            }
            (ConnectionStage::Session(session), message) => {
                let session = *session;
                self.request(conn, session, message);
            }
            _ => self.violation(conn, "a request before the session is open"),
        }
    }

    fn request(&mut self, conn: ConnectionId, id: SessionId, message: ClientMessage) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.pending.is_some() || !matches!(session.phase, Phase::Open { .. }) {
            return self.violation(conn, "a request while another one is unanswered");
        }
        let makes_things = matches!(
            message,
            ClientMessage::RegisterProgram { .. }
                | ClientMessage::AllocateBuffer { .. }
                | ClientMessage::AllocateShareable { .. }
                | ClientMessage::AttachBuffer { .. }
        );
        if makes_things && self.leaving != Leaving::No {
            return self.answer(
                id,
                failed(ErrorCode::Draining, ErrorCode::Draining.to_string()),
            );
        }
        match message {
            ClientMessage::RegisterProgram {
                entry,
                module_bytes,
                specialization,
            } => {
                self.register_program(
                    id,
                    Source {
                        entry,
                        module_bytes,
                        specialization,
                    },
                );
            }
            ClientMessage::ReleaseProgram { program } => self.release_program(id, program),
            ClientMessage::AllocateBuffer { bytes, class } => {
                self.allocate_buffer(id, bytes, class);
            }
            ClientMessage::FreeBuffer { buffer } => self.free_buffer(id, buffer),
            ClientMessage::QueryQuota => self.answer_quota(id),
            ClientMessage::AllocateShareable { bytes } => self.allocate_shareable(id, bytes),
            ClientMessage::OfferBuffer {
                buffer,
                audience,
                grant,
            } => self.offer_buffer(id, buffer, audience, grant),
            ClientMessage::AttachBuffer { name, token } => self.attach_buffer(id, name, token),
            // `message` has dealt with them.
            ClientMessage::Hello(_) | ClientMessage::OpenGroup(_) | ClientMessage::Reserved => {}
        }
    }

    fn created(&mut self, id: SessionId, resource: Resource) {
        match resource {
            Resource::Region => self.region_created(id),
            Resource::Arena => self.arena_created(id),
            Resource::Share { .. } => self.file_created(id),
        }
    }

    fn not_created(&mut self, id: SessionId, resource: Resource, text: String) {
        match resource {
            Resource::Region => {
                let code = ErrorCode::System;
                self.end_session(id, Cause::Ended(code), code, text);
            }
            Resource::Arena | Resource::Share { .. } => {
                self.abandon_chunk(id, ErrorCode::OutOfHostMemory, text)
            }
        }
    }

    /// A client broke the protocol: it is told, logged and gone.
    fn violation(&mut self, conn: ConnectionId, text: &str) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        let id = match connection.stage {
            ConnectionStage::Session(id) => Some(id),
            _ => None,
        };
        let session = id.and_then(|id| Some(self.sessions.get(&id)?.client(id)));
        let client = session.unwrap_or_else(|| connection.client());
        self.log(Event::ProtocolViolation {
            client,
            text: text.to_owned(),
        });
        let code = ErrorCode::Protocol;
        match id {
            Some(id) => self.end_session(id, Cause::Ended(code), code, text.to_owned()),
            None => self.close_refused(conn, code, text.to_owned()),
        }
    }

    /// Ends a session from our side: the client is told why, in its socket and in its region.
    fn end_session(&mut self, id: SessionId, cause: Cause, code: ErrorCode, text: String) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(conn) = session.conn() else { return };
        if let Phase::Creating { .. } = session.phase {
            // Nobody has heard of the session: for everyone else it is a connection that got none.
            let (client, text) = (session.client(id), text.clone());
            self.actions
                .push(Action::Log(Event::ConnectionRefused { client, code, text }));
        }
        let message = if session.pending.is_some() {
            failed(code, text)
        } else {
            DaemonMessage::Refused { code, text }
        };
        self.push(Action::Send { conn, message });
        self.push(Action::End { session: id, code });
        self.push(Action::Close { conn });
        self.connections.remove(&conn);
        self.close_session(id, cause);
    }

    /// The connection is gone or being closed: stop working for it, let the engine let go of it.
    fn close_session(&mut self, id: SessionId, cause: Cause) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let was_open = matches!(session.phase, Phase::Open { .. });
        session.phase = Phase::Closing;
        self.waiting.retain(|waiting| waiting.session != id);
        let client = session.client(id);
        match session.pending.take() {
            Some(Pending::Program { hash }) => {
                if let Some(hash) = self.programs.stop_waiting(hash, id) {
                    self.forget_program(hash);
                }
            }
            Some(Pending::Buffer {
                chunk,
                home: Home::Own,
                ..
            }) => self.push(Action::DropShare { chunk }),
            _ => {}
        }
        self.leave_shares(id);
        self.drain_all(id);
        if was_open {
            self.log(Event::ClientDisconnected { client, cause });
        }
        if was_open && self.engine.is_ready() {
            self.push(Action::ToEngine(ToEngine::RemoveSession { session: id }));
        } else {
            self.session_removed(id);
        }
        self.push(Action::Release { session: id });
    }

    /// Nothing works for the session any more: its slot, memory and programs go back.
    fn session_removed(&mut self, id: SessionId) {
        // An engine that reports a session gone which is not closing is confused; the session stays.
        if self
            .sessions
            .get(&id)
            .is_none_or(|session| session.phase != Phase::Closing)
        {
            return;
        }
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.free_slots.insert(session.slot);
        self.give_back(&session.memory);
        self.user_leaves(&session);
        self.group_left(id, &session);
        self.leave_to_nobody(session.peer.uid);
        for (_, hash) in session.programs.iter() {
            self.programs.unrefer(*hash);
        }
        self.evict_programs();
        self.serve_waiting();
    }

    /// Sends the answer to the session's request.
    fn answer(&mut self, id: SessionId, message: DaemonMessage) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.pending = None;
        if let Some(conn) = session.conn() {
            self.push(Action::Send { conn, message });
        }
    }

    fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn log(&mut self, event: Event) {
        self.push(Action::Log(event));
    }

    /// Checks that all parts of the state agree with each other.
    ///
    /// # Panics
    /// If they do not.
    pub fn verify_invariants(&self) {
        let mut references: HashMap<ProgramHash, usize> = HashMap::new();
        let mut slots = self.free_slots.clone();
        let mut shared_bytes = 0;
        for (id, session) in &self.sessions {
            assert!(slots.insert(session.slot), "two owners of a slot");
            session.memory.verify_invariants();
            session.verify_used();
            shared_bytes += session.memory.chunk_bytes(MemoryClass::Shared);
            session
                .programs
                .iter()
                .for_each(|(_, hash)| *references.entry(*hash).or_default() += 1);
            let stage = session.conn().and_then(|conn| self.connections.get(&conn));
            match stage.map(|connection| &connection.stage) {
                Some(ConnectionStage::Session(other)) => assert_eq!(id, other),
                Some(_) => panic!("a session on a connection that has none"),
                None => assert_eq!(session.phase, Phase::Closing),
            }
            let waits = |hash| self.programs.waiters(hash).contains(id);
            assert!(!matches!(session.pending, Some(Pending::Program { hash }) if !waits(hash)));
            assert!(session.pending.is_none() || matches!(session.phase, Phase::Open { .. }));
        }
        assert_eq!(slots.len(), MAX_SESSIONS);
        for (id, session) in &self.sessions {
            let waits = self.waiting.iter().filter(|w| w.session == *id).count();
            let waiting = matches!(session.pending, Some(Pending::Room { .. }));
            assert_eq!(waits, usize::from(waiting));
        }
        assert_eq!(self.budget.shared.used_bytes, shared_bytes);
        assert!(self.engine.is_ready() || self.sessions.is_empty());
        self.verify_quotas();
        self.verify_groups();
        for connection in self.connections.values() {
            match connection.stage {
                ConnectionStage::Session(id) => assert!(self.sessions.contains_key(&id)),
                ConnectionStage::WaitingForEngine { .. } => {
                    assert!(matches!(self.engine, Engine::Starting) && self.leaving == Leaving::No);
                    assert_eq!(self.admission, Admission::Open);
                }
                ConnectionStage::AwaitingHello { .. } => {}
                ConnectionStage::Group(id) => assert!(self.group(id).is_some()),
            }
        }
        self.verify_shares();
        self.verify_blocks();
        self.programs.verify_invariants(&references);
    }
}

fn failed(code: ErrorCode, text: String) -> DaemonMessage {
    DaemonMessage::Failed {
        code,
        text,
        excess: None,
    }
}

/// A request that would have broken a limit of the session's, or of its user's.
fn beyond(excess: Excess) -> DaemonMessage {
    DaemonMessage::Failed {
        code: ErrorCode::LimitReached,
        text: excess.to_string(),
        excess: Some(excess),
    }
}
