//! A model of everything around a broker: clients, daemon, compilers, engine. It checks what it is told to do.

use super::engine::EngineModel;
use crate::*;
use std::collections::{BTreeSet, VecDeque};
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::{BufferId, ChunkId, ProgramId};
use vkmps_protocol::limits::MAX_SESSIONS_PER_UID;
use vkmps_protocol::message::Hello;
use vkmps_protocol::program::Interface;
use vkmps_protocol::quota::{Quota, Wish};
use vkmps_protocol::share::Mode;
use vkmps_protocol::sharing::{Audience, ShareName};
use vkmps_protocol::{MAGIC, VERSION_MAJOR};

/// Something the broker asked for and has no answer to yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    Create(SessionId, Resource),
    Copy(ConnectionId, Source),
    Compile(ProgramHash),
    Engine(ToEngine),
    /// A freed piece of a block.
    Scrub(ChunkId, u64),
}

#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) session: Option<SessionId>,
    pub(super) group: Option<GroupId>,
    pub(super) awaiting: bool,
    pub(super) buffers: BTreeSet<BufferId>,
    pub(super) programs: BTreeSet<ProgramId>,
    pub(super) last: Option<DaemonMessage>,
}

/// What surrounds a broker.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) now: Duration,
    pub(super) next_conn: u64,
    pub(super) links: BTreeMap<ConnectionId, Link>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) kept: BTreeSet<ProgramHash>,
    /// What was offered, to whom.
    pub(super) offers: Vec<(ShareName, Audience)>,
    /// Files of shares.
    pub(super) files: BTreeSet<ChunkId>,
    /// What a running engine knows.
    pub(super) engine: Option<EngineModel>,
    pub(super) events: Vec<Event>,
    /// What engines were told.
    pub(super) told: Vec<ToEngine>,
    /// Sessions that the log calls connected, and their priorities as it knows them.
    pub(super) connected: BTreeMap<SessionId, Priority>,
    /// What clients can read of their lanes.
    pub(super) lanes: BTreeMap<SessionId, (Priority, bool)>,
    pub(super) exited: bool,
    /// Of the device of the next engine.
    pub(super) max_allocations: u32,
}

/// Every user has a group of its own, with this added to its number.
pub(super) const GROUPS: u32 = 50_000;
pub(super) const DEVICE_BYTES: u64 = 1 << 30;

impl World {
    pub(super) fn new() -> Self {
        Self {
            broker: Broker::new(config()),
            now: Duration::ZERO,
            next_conn: 1,
            links: BTreeMap::new(),
            jobs: VecDeque::new(),
            kept: BTreeSet::new(),
            offers: Vec::new(),
            files: BTreeSet::new(),
            engine: None,
            events: Vec::new(),
            told: Vec::new(),
            connected: BTreeMap::new(),
            lanes: BTreeMap::new(),
            exited: false,
            max_allocations: 4096,
        }
    }

    pub(super) fn with_engine() -> Self {
        let mut world = Self::new();
        world.start_engine();
        world
    }

    pub(super) fn input(&mut self, input: Input) {
        let actions: Vec<Action> = self.broker.handle(input, self.now).collect();
        for action in actions {
            self.perform(action);
        }
        self.broker.verify_invariants();
        self.verify_views();
    }

    /// What can be seen from outside is what the log, the engine and the clients were told.
    fn verify_views(&self) {
        let seen: BTreeMap<SessionId, Priority> = self
            .broker
            .sessions()
            .map(|session| (session.id, session.priority))
            .collect();
        assert_eq!(seen, self.connected);
        if let Some(engine) = &self.engine {
            for (session, priority) in &seen {
                assert_eq!(engine.sessions.get(session), Some(priority));
            }
            for view in self.broker.sessions() {
                let (limits, user) = (view.limits, self.broker.user(view.peer.uid).limits);
                let shares = (limits.weight, limits.cap_percent);
                assert_eq!(engine.shares.get(&view.id), Some(&shares));
                let counts = (limits.streams, limits.submits);
                assert_eq!(engine.counts.get(&view.id), Some(&counts));
                let of_user = (user.weight, user.cap_percent, user.reserve_percent);
                assert_eq!(engine.users.get(&view.peer.uid), Some(&of_user));
                let of_group = view.group.and_then(|group| self.broker.group(group));
                let cap = of_group.and_then(|group| Some((group.id, group.limits.cap_percent?)));
                assert_eq!(engine.groups.get(&view.id).copied(), cap);
                let lane = (view.priority, view.demoted);
                assert_eq!(self.lanes.get(&view.id), Some(&lane));
            }
        }
        for link in self.links.values() {
            let held = link.group.map(|group| self.broker.group(group));
            assert_ne!(held, Some(None), "a client holds a group that is over");
            let Some(view) = link.session.and_then(|id| self.broker.session(id)) else {
                assert!(
                    link.session.is_none(),
                    "a client has a session that is none"
                );
                continue;
            };
            assert_eq!(link.buffers.len(), view.buffers);
            assert_eq!(link.programs.len(), view.programs);
        }
        assert!(self.broker.connections() >= self.links.len());
    }

    fn note(&mut self, event: Event) {
        match &event {
            Event::ClientConnected { client, priority } => {
                let id = client.session.expect("a session connects");
                assert!(self.connected.insert(id, *priority).is_none());
            }
            Event::ClientDisconnected { client, .. } => {
                let id = client.session.expect("a session disconnects");
                assert!(self.connected.remove(&id).is_some());
            }
            Event::PriorityChanged { client, from, to } => {
                let id = client.session.expect("a session has a priority");
                assert_ne!(from, to);
                assert_eq!(self.connected.insert(id, *to), Some(*from));
            }
            _ => {}
        }
        self.events.push(event);
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Send { conn, message } => {
                let link = self
                    .links
                    .get_mut(&conn)
                    .expect("no message goes to a closed connection");
                let refusal = matches!(message, DaemonMessage::Refused { .. });
                assert!(
                    link.awaiting || refusal,
                    "an answer to nothing: {message:?}"
                );
                link.awaiting = false;
                match &message {
                    DaemonMessage::Welcome { session, .. } => link.session = Some(*session),
                    DaemonMessage::GroupOpened { group } => link.group = Some(*group),
                    DaemonMessage::BufferReady { buffer, .. } => {
                        assert!(link.buffers.insert(*buffer))
                    }
                    DaemonMessage::ProgramReady { program, .. } => {
                        assert!(link.programs.insert(*program));
                    }
                    _ => {}
                }
                link.last = Some(message);
            }
            Action::SendShare {
                conn,
                message,
                chunk,
                grant,
            } => {
                assert!(self.files.contains(&chunk));
                let DaemonMessage::ShareReady {
                    buffer,
                    grant: told,
                    ..
                } = message
                else {
                    panic!("no file goes with {message:?}");
                };
                assert_eq!(told, grant);
                let link = self.links.get_mut(&conn).expect("an open connection");
                assert!(link.awaiting && link.buffers.insert(buffer));
                link.awaiting = false;
                link.last = Some(message);
            }
            Action::DropShare { chunk } => drop(self.files.remove(&chunk)),
            Action::Close { conn } => drop(self.links.remove(&conn)),
            Action::Create { session, resource } => {
                self.jobs.push_back(Job::Create(session, resource));
            }
            Action::CopyModule { conn, source } => self.jobs.push_back(Job::Copy(conn, source)),
            Action::KeepModule { hash, .. } => assert!(self.kept.insert(hash)),
            Action::Compile { hash, .. } => {
                assert!(self.kept.contains(&hash));
                self.jobs.push_back(Job::Compile(hash));
            }
            Action::DropProgram { hash } => assert!(self.kept.remove(&hash)),
            Action::ToEngine(message) => {
                self.told.push(message.clone());
                self.tell_engine(message);
            }
            Action::Log(event) => self.note(event),
            Action::Exit => self.exited = true,
            Action::Lane {
                session,
                priority,
                demoted,
            } => drop(self.lanes.insert(session, (priority, demoted))),
            Action::End { .. } | Action::Release { .. } => {}
        }
    }

    /// Does one of the outstanding jobs.
    pub(super) fn work(&mut self, index: usize, succeed: bool) {
        if self.jobs.is_empty() {
            return;
        }
        // The engine answers in order; everything else comes as it comes.
        let mut index = index % self.jobs.len();
        if matches!(self.jobs[index], Job::Engine(_)) {
            index = self
                .jobs
                .iter()
                .position(|job| matches!(job, Job::Engine(_)))
                .unwrap();
        }
        let Some(job) = self.jobs.remove(index) else {
            return;
        };
        let text = "it was told to fail".to_owned();
        let input = match job {
            Job::Create(session, resource) if succeed => {
                if let Resource::Share { chunk, .. } = resource
                    && self.broker.session(session).is_some()
                {
                    assert!(self.files.insert(chunk));
                }
                Input::Created { session, resource }
            }
            Job::Create(session, resource) => Input::NotCreated {
                session,
                resource,
                text,
            },
            Job::Copy(conn, source) if succeed => Input::ModuleCopied {
                conn,
                hash: hash_of(&source),
            },
            Job::Copy(conn, _) => Input::ModuleUnreadable { conn, text },
            Job::Compile(hash) if succeed => Input::Compiled {
                hash,
                interface: Interface::default(),
            },
            Job::Compile(hash) => {
                let failure = match hash.0[0] % 4 {
                    0 => CompileFailure::Refused {
                        code: ErrorCode::InvalidModule,
                        text,
                    },
                    1 => CompileFailure::Crashed,
                    2 => CompileFailure::Unread { text },
                    _ => CompileFailure::TimedOut,
                };
                Input::CompileFailed { hash, failure }
            }
            Job::Scrub(chunk, offset) => {
                let engine = self.engine.as_mut();
                match engine.and_then(|engine| engine.scrub(chunk, offset)) {
                    Some(reply) => Input::Engine(reply),
                    None => return,
                }
            }
            Job::Engine(message) => match self.engine_reply(&message, succeed) {
                Some(reply) => Input::Engine(reply),
                None => return,
            },
        };
        self.input(input);
    }

    pub(super) fn work_off(&mut self) {
        while !self.jobs.is_empty() {
            self.work(0, true);
        }
    }

    pub(super) fn connect(&mut self, uid: u32) -> ConnectionId {
        let conn = ConnectionId(self.next_conn);
        self.next_conn += 1;
        self.links.insert(conn, Link::default());
        self.input(Input::ConnectionOpened {
            conn,
            peer: Peer { uid, pid: 1 },
            groups: vec![uid + GROUPS],
        });
        conn
    }

    pub(super) fn ask(&mut self, conn: ConnectionId, message: ClientMessage) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        // The daemon does not read a socket with an unanswered request.
        if !link.awaiting {
            link.awaiting = true;
            link.last = None;
            match &message {
                ClientMessage::FreeBuffer { buffer } => drop(link.buffers.remove(buffer)),
                ClientMessage::ReleaseProgram { program } => drop(link.programs.remove(program)),
                _ => {}
            }
            self.input(Input::Message { conn, message });
        }
    }

    pub(super) fn hello(&mut self, conn: ConnectionId) {
        self.ask(conn, hello(VERSION_MAJOR, Priority::Realtime));
    }

    /// A client with an open session.
    pub(super) fn client(&mut self, uid: u32) -> ConnectionId {
        let conn = self.connect(uid);
        self.hello(conn);
        self.work_off();
        assert!(self.links[&conn].session.is_some());
        conn
    }

    pub(super) fn asked(&mut self, conn: ConnectionId, message: ClientMessage) -> DaemonMessage {
        self.ask(conn, message);
        self.work_off();
        self.links[&conn]
            .last
            .clone()
            .expect("every request is answered")
    }

    /// What a client is told of itself.
    pub(super) fn quota(&mut self, conn: ConnectionId) -> Quota {
        match self.asked(conn, ClientMessage::QueryQuota) {
            DaemonMessage::Quota(quota) => quota,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn asked_at_once(
        &mut self,
        conn: ConnectionId,
        message: ClientMessage,
    ) -> DaemonMessage {
        self.ask(conn, message);
        self.links[&conn].last.clone().expect("answered at once")
    }

    pub(super) fn allocate(
        &mut self,
        conn: ConnectionId,
        bytes: u64,
        class: MemoryClass,
    ) -> DaemonMessage {
        self.asked(conn, ClientMessage::AllocateBuffer { bytes, class })
    }

    pub(super) fn close(&mut self, conn: ConnectionId) {
        if self.links.contains_key(&conn) {
            self.input(Input::ConnectionClosed { conn });
            assert!(!self.links.contains_key(&conn));
        }
    }

    pub(super) fn nth(&self, index: usize) -> Option<ConnectionId> {
        let count = self.links.len().max(1);
        self.links.keys().nth(index % count).copied()
    }
}

pub(super) fn config() -> Config {
    Config {
        arena_bytes: 1 << 40,
        max_priority: Priority::High,
        max_sessions: MAX_SESSIONS,
        max_sessions_per_uid: MAX_SESSIONS_PER_UID,
        pass: None,
        policy: Policy {
            mode: Mode::default(),
            loop_slice_quota: 100_000,
            realtime_budget: Duration::from_millis(20),
            realtime_period: Duration::from_millis(100),
        },
        limits: Limits::default(),
        instrumentation: Instrumentation::default(),
    }
}

pub(super) fn hello(version: u16, priority: Priority) -> ClientMessage {
    let name = "test".to_owned();
    ClientMessage::Hello(Hello {
        magic: MAGIC,
        version,
        features: 0,
        priority,
        name,
        wish: Wish::default(),
        group: None,
        pass: None,
    })
}

pub(super) fn register(which: u8) -> ClientMessage {
    let entry = format!("main{which}");
    ClientMessage::RegisterProgram {
        entry,
        module_bytes: 1024,
        specialization: Vec::new(),
    }
}

/// Stands in for SHA-256.
pub(super) fn hash_of(source: &Source) -> ProgramHash {
    ProgramHash([source.entry.bytes().last().unwrap(); 32])
}

pub(super) fn code_of(message: &DaemonMessage) -> Option<ErrorCode> {
    match message {
        DaemonMessage::Failed { code, .. } | DaemonMessage::Refused { code, .. } => Some(*code),
        _ => None,
    }
}
