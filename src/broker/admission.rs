//! Who gets a session, and who leaves.

use crate::engine::Engine;
use crate::event::{Cause, Event};
use crate::groups::GroupEnd;
use crate::limits::ClientSettings;
use crate::memory::{Memory, MemoryBytes};
use crate::room::ROOT;
use crate::session::{Connection, ConnectionStage, Phase, Session};
use crate::{Action, Broker, Config, ConnectionId, Leaving, Peer, Resource};
use std::time::Duration;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{SessionId, Table};
use vkmps_protocol::limits::{MAX_NAME_BYTES, MAX_SESSIONS, MAX_SESSIONS_PER_UID};
use vkmps_protocol::message::{DaemonMessage, Hello};
use vkmps_protocol::token::Pass;
use vkmps_protocol::{ErrorCode, MAGIC, VERSION_MAJOR};

/// Whether newcomers get sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// Within the limits.
    #[default]
    Open,
    /// An administrator drains the service: newcomers are refused, sessions go on as if nothing were.
    Closed,
}

impl Broker {
    pub(crate) fn connection_opened(
        &mut self,
        conn: ConnectionId,
        peer: Peer,
        groups: Vec<u32>,
        now: Duration,
    ) {
        let most_of_uid = self.config.sessions_of(peer.uid);
        let most = self.config.sessions() + SPARE_CONNECTIONS;
        let full = self.places(|stage| !matches!(stage, ConnectionStage::Group(_))) >= most
            || self.uid_places(peer.uid) >= most_of_uid.saturating_add(SPARE_CONNECTIONS);
        let stage = ConnectionStage::AwaitingHello {
            deadline: now + HELLO_TIMEOUT,
        };
        let connection = Connection {
            peer,
            groups,
            stage,
        };
        self.connections.insert(conn, connection);
        // A mere lack of sessions is told in answer to the Hello: a socket closed before its peer has written loses
        // what it was sent. Beyond the spare connections nobody waits for that.
        if full {
            let code = ErrorCode::DaemonFull;
            self.refuse(conn, code, code.to_string());
        }
    }

    pub(crate) fn hello(&mut self, conn: ConnectionId, hello: &Hello) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        let peer = connection.peer;
        if !self.is_greeted(conn, hello.magic, hello.version, hello.pass.as_ref()) {
            return;
        }
        if hello.name.len() > MAX_NAME_BYTES {
            return self.violation(conn, "a name longer than 64 bytes");
        }
        if !hello.wish.is_valid() {
            return self.violation(conn, "limits beyond their bounds");
        }
        let group = hello.group.map(|token| self.group_for(peer.uid, token));
        let group = match group.transpose() {
            Ok(group) => group,
            Err((code, text)) => return self.refuse(conn, code, text),
        };
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.stage = ConnectionStage::WaitingForEngine {
                name: hello.name.clone(),
                priority: hello.priority,
                wish: hello.wish,
                group,
            };
        }
        if self.leaving != Leaving::No {
            let code = ErrorCode::Draining;
            return self.refuse(conn, code, code.to_string());
        }
        if self.admission == Admission::Closed {
            return self.refuse(conn, ErrorCode::Draining, DRAINED.to_owned());
        }
        // This connection counts itself.
        let greeted = self.places(|stage| {
            use ConnectionStage::{Session, WaitingForEngine};
            matches!(stage, WaitingForEngine { .. } | Session(_))
        });
        let most = self.config.sessions();
        if greeted > most {
            let text = format!("all {most} sessions are taken");
            return self.refuse(conn, ErrorCode::DaemonFull, text);
        }
        let most = self.config.sessions_of(peer.uid);
        if self.uid_places(peer.uid) > most {
            let text = format!("all {most} sessions of user {} are taken", peer.uid);
            return self.refuse(conn, ErrorCode::DaemonFull, text);
        }
        match &self.engine {
            Engine::Starting => {}
            Engine::Failed { text } => {
                let text = text.clone();
                self.refuse(conn, ErrorCode::NoDevice, text);
            }
            Engine::Ready { .. } => self.open_session(conn),
        }
    }

    /// Whether a connection speaks our language, and knows what all must know who connect; else it is closed.
    pub(crate) fn is_greeted(
        &mut self,
        conn: ConnectionId,
        magic: u32,
        version: u16,
        pass: Option<&Pass>,
    ) -> bool {
        if magic != MAGIC {
            self.violation(conn, "a greeting without the magic number");
            return false;
        }
        if version != VERSION_MAJOR {
            let text = format!(
                "the daemon speaks version {VERSION_MAJOR} of the protocol, the client version {version}"
            );
            self.refuse(conn, ErrorCode::VersionMismatch, text);
            return false;
        }
        let refusal = match (&self.config.pass, pass) {
            (None, _) => return true,
            (Some(asked), Some(shown)) if asked.is(shown) => return true,
            (Some(_), Some(_)) => "the service wants another token",
            (Some(_), None) => "the service wants a token",
        };
        self.refuse(conn, ErrorCode::PermissionDenied, refusal.to_owned());
        false
    }

    /// Gives a greeted connection its session; the Welcome follows when the region is there.
    pub(crate) fn open_session(&mut self, conn: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let ConnectionStage::WaitingForEngine {
            name,
            priority,
            wish,
            group,
        } = &mut connection.stage
        else {
            return;
        };
        let (name, priority, wish) = (std::mem::take(name), *priority, *wish);
        let group = *group;
        let (peer, groups) = (connection.peer, std::mem::take(&mut connection.groups));
        let Some(slot) = self.free_slots.pop_first() else {
            let code = ErrorCode::DaemonFull;
            return self.refuse(conn, code, code.to_string());
        };
        let id = SessionId(self.next_session);
        self.next_session += 1;
        connection.stage = ConnectionStage::Session(id);
        self.user_arrives(peer.uid, &groups);
        let mut session = Session {
            peer,
            name,
            group,
            priority,
            slot,
            phase: Phase::Creating { conn },
            memory: Memory::new(self.config.arena_bytes),
            programs: Table::default(),
            pending: None,
            demoted: false,
            wish: ClientSettings::of_wish(wish),
            own: ClientSettings::default(),
            set: ClientSettings::default(),
            limits: ClientSettings::default().limits(self.memory_total()),
            used: MemoryBytes::default(),
            charge: None,
        };
        self.group_joined(id, group);
        session.limits = self.limits_of(&session);
        session.priority = priority.min(session.limits.max_priority);
        self.sessions.insert(id, session);
        self.push(Action::Create {
            session: id,
            resource: Resource::Region,
        });
    }

    pub(crate) fn region_created(&mut self, id: SessionId) {
        let Engine::Ready { device, .. } = &self.engine else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Phase::Creating { conn } = session.phase else {
            return;
        };
        session.phase = Phase::Open { conn };
        let (slot, uid, priority) = (session.slot, session.peer.uid, session.priority);
        let (client, limits) = (session.client(id), session.limits);
        let device = device.clone();
        self.introduce_user(uid);
        // The engine hears of the session before the client can submit.
        self.push(Action::ToEngine(ToEngine::AddSession {
            session: id,
            slot,
            uid,
            priority,
            weight: limits.weight,
            cap_percent: limits.cap_percent,
        }));
        self.introduce_limits(id, limits);
        self.introduce_group(id);
        self.say_lane(id);
        let Some(quota) = self.sessions.get(&id).map(|session| self.quota(session)) else {
            return;
        };
        let welcome = DaemonMessage::Welcome {
            session: id,
            features: FEATURES,
            priority,
            device,
            quota,
        };
        self.push(Action::Send {
            conn,
            message: welcome,
        });
        self.log(Event::ClientConnected { client, priority });
    }

    pub(crate) fn connection_closed(&mut self, conn: ConnectionId, cause: Cause) {
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        self.push(Action::Close { conn });
        match connection.stage {
            ConnectionStage::Session(id) => {
                if cause == Cause::Stalled {
                    self.push(Action::End {
                        session: id,
                        code: ErrorCode::DaemonLost,
                    });
                }
                self.close_session(id, cause);
            }
            ConnectionStage::Group(group) => self.end_group(group, GroupEnd::HolderGone),
            _ => {}
        }
    }

    pub(crate) fn refuse_silent_connections(&mut self, now: Duration) {
        let silent = |(conn, connection): (&ConnectionId, &Connection)| match connection.stage {
            ConnectionStage::AwaitingHello { deadline } if deadline <= now => Some(*conn),
            _ => None,
        };
        let late: Vec<ConnectionId> = self.connections.iter().filter_map(silent).collect();
        for conn in late {
            self.refuse(conn, ErrorCode::Timeout, "no Hello came in time".to_owned());
        }
    }

    pub(crate) fn start_stopping(&mut self) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Stopping;
        self.log(Event::Stopping {
            sessions: self.sessions().count(),
        });
        self.refuse_waiting(ErrorCode::Draining, &ErrorCode::Draining.to_string());
        if self.engine.is_ready() {
            self.push(Action::ToEngine(ToEngine::Stop));
        } else {
            self.finish_stopping();
        }
    }

    /// The engine has finished, or had its time.
    pub(crate) fn finish_stopping(&mut self) {
        if self.leaving != Leaving::Stopping {
            return;
        }
        self.leaving = Leaving::Done;
        self.engine = Engine::Starting;
        self.end_all_groups();
        self.end_all_sessions(ErrorCode::Draining);
        self.push(Action::Exit);
    }

    /// Turns away everyone who said hello and waits for an engine.
    pub(crate) fn refuse_waiting(&mut self, code: ErrorCode, text: &str) {
        for conn in self.waiting_connections() {
            self.refuse(conn, code, text.to_owned());
        }
    }

    pub(crate) fn waiting_connections(&self) -> Vec<ConnectionId> {
        let waits = |connection: &Connection| {
            matches!(connection.stage, ConnectionStage::WaitingForEngine { .. })
        };
        self.connections
            .iter()
            .filter(|(_, c)| waits(c))
            .map(|(conn, _)| *conn)
            .collect()
    }

    /// Ends every session; the engine is gone, so nothing needs its consent.
    pub(crate) fn end_all_sessions(&mut self, code: ErrorCode) {
        self.forget_blocks();
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.end_session(id, Cause::Ended(code), code, code.to_string());
            self.session_removed(id);
        }
    }

    /// Logs, tells and closes a connection that has no session.
    pub(crate) fn refuse(&mut self, conn: ConnectionId, code: ErrorCode, text: String) {
        if let Some(connection) = self.connections.get(&conn) {
            let client = connection.client();
            self.log(Event::ConnectionRefused {
                client,
                code,
                text: text.clone(),
            });
        }
        self.close_refused(conn, code, text);
    }

    /// Tells and closes a connection that has no session.
    pub(crate) fn close_refused(&mut self, conn: ConnectionId, code: ErrorCode, text: String) {
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        self.push(Action::Send {
            conn,
            message: DaemonMessage::Refused { code, text },
        });
        self.push(Action::Close { conn });
        if let ConnectionStage::Group(group) = connection.stage {
            self.end_group(group, GroupEnd::HolderGone);
        }
    }

    /// Connections in some stages, and sessions whose connection is gone already.
    fn places(&self, counts: impl Fn(&ConnectionStage) -> bool) -> usize {
        let connections = self
            .connections
            .values()
            .filter(|c| counts(&c.stage))
            .count();
        connections + self.closing()
    }

    /// The same of one user, in all stages but those of groups, of which there may be so many anyway.
    fn uid_places(&self, uid: u32) -> usize {
        let connections = self
            .connections
            .values()
            .filter(|c| c.peer.uid == uid && !matches!(c.stage, ConnectionStage::Group(_)))
            .count();
        let closing = |s: &&Session| s.phase == Phase::Closing && s.peer.uid == uid;
        connections + self.sessions.values().filter(closing).count()
    }
}

impl Config {
    /// Sessions at one time.
    pub(crate) fn sessions(&self) -> usize {
        self.max_sessions.min(MAX_SESSIONS)
    }

    /// Sessions of one user at one time.
    pub(crate) fn sessions_of(&self, uid: u32) -> usize {
        match uid {
            ROOT => usize::MAX,
            _ => self.max_sessions_per_uid.min(MAX_SESSIONS_PER_UID),
        }
    }
}

/// A connection that says nothing is closed after this.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What newcomers are told while admission is closed.
pub(crate) const DRAINED: &str = "the service is drained; `vkmpsctl resume` opens it again";
/// Connections beyond the limits that may wait for their refusal.
const SPARE_CONNECTIONS: usize = 64;
/// Feature bits of the protocol that this daemon knows.
const FEATURES: u64 = 0;
