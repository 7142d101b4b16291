//! Session groups: clients that have limits together, for as long as somebody holds the group.
//!
//! A group only takes away. Its members stay clients of their users, with all limits and shares that these have; the
//! group's come on top of them, and the tightest holds. So a user gains nothing by opening groups, and may open them
//! without asking anybody.
//!
//! ```text
//! open -> over (released, its holder left, its time passed) -> gone (when the last member's memory is)
//! ```

use crate::admission::{Admission, DRAINED};
use crate::event::{Cause, Client, Event};
use crate::limits::ClientLimits;
use crate::memory::MemoryBytes;
use crate::room::ROOT;
use crate::session::{ConnectionStage, Phase, Session};
use crate::{Action, Broker, ConnectionId, Leaving, Peer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::group::{GroupId, GroupLimits, MAX_TTL_MS, NewGroup, OpenGroup};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::limits::{MAX_GROUPS, MAX_GROUPS_PER_UID, MAX_NAME_BYTES};
use vkmps_protocol::message::DaemonMessage;
use vkmps_protocol::token::Token;

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<GroupId, Group>,
    last: u64,
}

#[derive(Debug)]
struct Group {
    /// Who opened it.
    peer: Peer,
    name: String,
    token: Token,
    limits: GroupLimits,
    /// Whose end is the group's; without one it is released by [`crate::Input::ReleaseGroup`].
    holder: Option<ConnectionId>,
    opened: Duration,
    deadline: Option<Duration>,
    /// Sessions, closing ones included.
    members: BTreeSet<SessionId>,
    /// By all of them.
    used: MemoryBytes,
    /// Nobody joins any more; it is kept until the last of its memory is accounted for.
    over: bool,
}

/// Why a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupEnd {
    /// Who opened it is gone.
    HolderGone,
    /// Its time has passed.
    Expired,
    /// Somebody released it.
    Released,
    /// The daemon leaves.
    Stopping,
}

impl fmt::Display for GroupEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HolderGone => "who created it has left",
            Self::Expired => "its time has passed",
            Self::Released => "it was released",
            Self::Stopping => "the daemon is shutting down",
        })
    }
}

/// A group that is not over, as administrators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupView<'a> {
    /// Its name.
    pub id: GroupId,
    /// Who opened it.
    pub peer: Peer,
    /// What that one calls it; hostile, may hold control characters.
    pub name: &'a str,
    /// As they were asked for.
    pub limits: GroupLimits,
    /// Of its members together, in sizes of buffers.
    pub memory_used: MemoryBytes,
    /// What that may be.
    pub memory_limit: MemoryBytes,
    /// Members, closing ones included.
    pub members: usize,
    /// When it was opened, by the clock of [`Broker::handle`].
    pub opened: Duration,
    /// When it ends by itself, if it does.
    pub deadline: Option<Duration>,
}

impl Broker {
    /// A connection's first message opens a group.
    pub(crate) fn open_group_for(&mut self, conn: ConnectionId, open: OpenGroup) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        let peer = connection.peer;
        if !self.is_greeted(conn, open.magic, open.version, open.pass.as_ref()) {
            return;
        }
        match self.refuses_group(peer.uid, &open.group) {
            None => {}
            Some((ErrorCode::Protocol, text)) => return self.violation(conn, &text),
            Some((code, text)) => return self.refuse(conn, code, text),
        }
        let group = self.insert_group(peer, open.group, Some(conn));
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.stage = ConnectionStage::Group(group);
        }
        let message = DaemonMessage::GroupOpened { group };
        self.push(Action::Send { conn, message });
    }

    /// Why a user cannot open such a group now, if it cannot.
    pub fn refuses_group(&self, uid: u32, group: &NewGroup) -> Option<(ErrorCode, String)> {
        let bad = |text: &str| Some((ErrorCode::Protocol, text.to_owned()));
        if group.name.len() > MAX_NAME_BYTES {
            return bad("a name longer than 64 bytes");
        }
        if !group.limits.is_valid() || group.ttl_ms > MAX_TTL_MS {
            return bad("limits beyond their bounds");
        }
        let code = ErrorCode::Draining;
        if self.leaving != Leaving::No {
            return Some((code, code.to_string()));
        }
        if self.admission == Admission::Closed {
            return Some((code, DRAINED.to_owned()));
        }
        let of_user = |group: &&Group| group.peer.uid == uid;
        let full = match uid {
            ROOT => false,
            _ => self.groups.groups.values().filter(of_user).count() >= MAX_GROUPS_PER_UID,
        };
        // Whose token it is already is nobody else's: this one was seen somewhere, or is no random one.
        let known = self.groups.with_token(group.token).is_some();
        (full || known || self.groups.groups.len() >= MAX_GROUPS).then(|| {
            let text = "there are as many sessions as there can be";
            (ErrorCode::LimitReached, text.to_owned())
        })
    }

    /// A group that no connection holds; the caller has asked [`Self::refuses_group`].
    pub(crate) fn open_group(&mut self, peer: Peer, group: NewGroup) {
        if self.refuses_group(peer.uid, &group).is_none() {
            self.insert_group(peer, group, None);
        }
    }

    fn insert_group(
        &mut self,
        peer: Peer,
        group: NewGroup,
        holder: Option<ConnectionId>,
    ) -> GroupId {
        let id = self.next_group();
        self.groups.last = id.0;
        let ttl = (group.ttl_ms > 0).then(|| Duration::from_millis(group.ttl_ms));
        let group = Group {
            peer,
            name: group.name,
            token: group.token,
            limits: group.limits,
            holder,
            opened: self.now,
            deadline: ttl.map(|ttl| self.now + ttl),
            members: BTreeSet::new(),
            used: MemoryBytes::default(),
            over: false,
        };
        self.log(Event::GroupOpened {
            group: id,
            owner: group.owner(),
            limits: group.limits,
            ttl,
        });
        self.groups.groups.insert(id, group);
        id
    }

    /// What the next group will be called.
    pub fn next_group(&self) -> GroupId {
        GroupId(self.groups.last + 1)
    }

    /// The group that a client of this user joins with a token.
    pub(crate) fn group_for(&self, uid: u32, token: Token) -> Result<GroupId, (ErrorCode, String)> {
        let over = ErrorCode::SessionOver;
        let found = self
            .groups
            .with_token(token)
            .filter(|(_, group)| !group.over);
        let (id, group) = found.ok_or_else(|| (over, over.to_string()))?;
        if group.peer.uid != uid && group.peer.uid != ROOT {
            let text = "the session belongs to another user".to_owned();
            return Err((ErrorCode::PermissionDenied, text));
        }
        match group.limits.clients {
            Some(most) if group.members.len() >= most as usize => {
                let text = format!("all {most} clients of the session are there");
                Err((ErrorCode::DaemonFull, text))
            }
            _ => Ok(id),
        }
    }

    /// A session begins.
    pub(crate) fn group_joined(&mut self, id: SessionId, group: Option<GroupId>) {
        if let Some(group) = group.and_then(|group| self.groups.groups.get_mut(&group)) {
            group.members.insert(id);
        }
    }

    /// A session is gone, with all it had.
    pub(crate) fn group_left(&mut self, id: SessionId, session: &Session) {
        let Some(name) = session.group else { return };
        let Some(group) = self.groups.groups.get_mut(&name) else {
            return;
        };
        group.members.remove(&id);
        group.used.device -= session.used.device;
        group.used.shared -= session.used.shared;
        self.forget_group(name);
    }

    /// Ends those whose time has passed.
    pub(crate) fn expire_groups(&mut self) {
        let late = |group: &Group| group.deadline.is_some_and(|deadline| deadline <= self.now);
        let groups = self.groups.groups.iter();
        let late: Vec<GroupId> = groups
            .filter(|(_, group)| !group.over && late(group))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.end_group(id, GroupEnd::Expired);
        }
    }

    /// The first time that a group has.
    pub(crate) fn group_deadline(&self) -> Option<Duration> {
        let open = self.groups.groups.values().filter(|group| !group.over);
        open.filter_map(|group| group.deadline).min()
    }

    /// Ends a group: its clients are told why, and lose what they have.
    pub(crate) fn end_group(&mut self, id: GroupId, end: GroupEnd) {
        let Some(group) = self.groups.groups.get_mut(&id).filter(|group| !group.over) else {
            return;
        };
        group.over = true;
        let (members, holder) = (group.members.clone(), group.holder);
        let (owner, code) = (group.owner(), ErrorCode::SessionOver);
        self.log(Event::GroupEnded {
            group: id,
            owner,
            end,
        });
        // First of all: what follows may end the holder's command, and it wants to know why.
        if let Some(conn) = holder {
            self.close_refused(conn, code, end.to_string());
        }
        for member in members {
            self.end_session(member, Cause::Ended(code), code, end.to_string());
        }
        let waits = |stage: &ConnectionStage| matches!(stage, ConnectionStage::WaitingForEngine { group, .. } if *group == Some(id));
        let connections = self.connections.iter();
        let waiting: Vec<ConnectionId> = connections
            .filter(|(_, connection)| waits(&connection.stage))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in waiting {
            self.refuse(conn, code, end.to_string());
        }
        self.forget_group(id);
    }

    pub(crate) fn end_all_groups(&mut self) {
        let ids: Vec<GroupId> = self.groups.groups.keys().copied().collect();
        for id in ids {
            self.end_group(id, GroupEnd::Stopping);
        }
    }

    fn forget_group(&mut self, id: GroupId) {
        let done = |group: &Group| group.over && group.members.is_empty();
        if self.groups.groups.get(&id).is_some_and(done) {
            self.groups.groups.remove(&id);
        }
    }

    /// What the group of a session has, and may have.
    pub(crate) fn group_memory(&self, session: &Session) -> Option<(MemoryBytes, MemoryBytes)> {
        let group = self.groups.groups.get(&session.group?)?;
        Some((group.used, self.memory_of(group.limits)))
    }

    /// Tells the engine of a cap that a new session has together with others.
    pub(crate) fn introduce_group(&mut self, id: SessionId) {
        let session = self.sessions.get(&id);
        if let Some(session) = session
            && let Some(group) = session.group
            && let Some(cap_percent) = self.group_cap(session)
        {
            self.push(Action::ToEngine(ToEngine::JoinGroup {
                session: id,
                group,
                cap_percent,
            }));
        }
    }

    /// What the group of a session may have of the device's time, percent.
    pub(crate) fn group_cap(&self, session: &Session) -> Option<u8> {
        let group = self.groups.groups.get(&session.group?)?;
        group.limits.cap_percent
    }

    /// Its members have more, or less, in a session.
    pub(crate) fn group_used(&mut self, group: Option<GroupId>) -> Option<&mut MemoryBytes> {
        Some(&mut self.groups.groups.get_mut(&group?)?.used)
    }

    /// A session's limits within those of its group.
    pub(crate) fn within_group(&self, session: &Session, limits: ClientLimits) -> ClientLimits {
        let group = session.group.and_then(|id| self.groups.groups.get(&id));
        let Some(of_group) = group.map(|group| group.limits) else {
            return limits;
        };
        let top = of_group.max_priority.unwrap_or(limits.max_priority);
        ClientLimits {
            max_priority: limits.max_priority.min(top),
            ..limits
        }
    }

    /// Groups that are not over, oldest first.
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'_>> {
        let groups = self.groups.groups.iter();
        groups
            .filter(|(_, group)| !group.over)
            .map(|(id, group)| GroupView {
                id: *id,
                peer: group.peer,
                name: &group.name,
                limits: group.limits,
                memory_used: group.used,
                memory_limit: self.memory_of(group.limits),
                members: group.members.len(),
                opened: group.opened,
                deadline: group.deadline,
            })
    }

    /// One of [`Self::groups`].
    pub fn group(&self, id: GroupId) -> Option<GroupView<'_>> {
        self.groups().find(|group| group.id == id)
    }

    /// Groups that are not over and that no connection holds.
    pub(crate) fn unheld_groups(&self) -> usize {
        let unheld = |group: &&Group| !group.over && group.holder.is_none();
        self.groups.groups.values().filter(unheld).count()
    }

    fn memory_of(&self, limits: GroupLimits) -> MemoryBytes {
        let total = self.memory_total();
        limits.memory.map_or(total, |amount| total.part(amount))
    }

    /// # Panics
    /// If groups do not have what their members have.
    pub(crate) fn verify_groups(&self) {
        let mut members: BTreeMap<GroupId, (BTreeSet<SessionId>, MemoryBytes)> = BTreeMap::new();
        for (id, session) in &self.sessions {
            if let Some(group) = session.group {
                let (sessions, used) = members.entry(group).or_default();
                sessions.insert(*id);
                used.device += session.used.device;
                used.shared += session.used.shared;
            }
        }
        for (id, group) in &self.groups.groups {
            let (sessions, used) = members.remove(id).unwrap_or_default();
            assert_eq!((&group.members, group.used), (&sessions, used));
            let closing = |member| self.sessions[member].phase == Phase::Closing;
            assert!(!group.over || (!sessions.is_empty() && sessions.iter().all(closing)));
            if let Some(holder) = group.holder.filter(|_| !group.over) {
                let stage = &self.connections[&holder].stage;
                assert!(matches!(stage, ConnectionStage::Group(held) if held == id));
            }
        }
        assert!(members.is_empty(), "members of a group that is gone");
    }
}

impl Group {
    /// How the log calls who opened it.
    fn owner(&self) -> Client {
        Client {
            session: None,
            uid: self.peer.uid,
            pid: self.peer.pid,
            name: self.name.clone(),
        }
    }
}

impl Groups {
    /// Looks at all of them, whichever it is.
    fn with_token(&self, shown: Token) -> Option<(GroupId, &Group)> {
        let groups = self.groups.iter();
        groups.fold(None, |found, (id, group)| match group.token.is(shown) {
            true => Some((*id, group)),
            false => found,
        })
    }
}
