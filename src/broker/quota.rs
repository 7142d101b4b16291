//! The one owner of limits: who has how much, who may have how much, and who hears when that changes.
//!
//! Memory is charged by the sizes of buffers, before anything is asked of the engine, and exactly: to the session and to
//! its user. What a session has counts until the engine has let go of it.

use crate::event::Event;
use crate::limits::{
    ClientChanges, ClientLimits, ClientSettings, Limits, UserChanges, UserLimits, UserSettings,
};
use crate::memory::MemoryBytes;
use crate::session::{Phase, Session};
use crate::{Action, Broker, Config};
use std::collections::{BTreeMap, BTreeSet};
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::MemoryClass;
use vkmps_protocol::quota::{Excess, Limit, Quota, Scope};
use vkmps_protocol::share::NO_CAP;

/// Users that have sessions, or settings that the configuration does not have.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    users: BTreeMap<u32, User>,
    /// What an administrator set for every client.
    defaults: ClientSettings,
}

#[derive(Debug)]
struct User {
    /// Sessions, closing ones included.
    sessions: usize,
    /// Of its clients, all together, while it has any.
    groups: BTreeSet<u32>,
    /// What an administrator set.
    set: UserSettings,
    limits: UserLimits,
    /// By all its sessions.
    used: MemoryBytes,
    /// What the engine knows: weight, cap, reserve.
    told: Option<(u16, u8, u8)>,
}

/// What an administrator sees of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserView {
    /// What its clients may have together.
    pub limits: UserLimits,
    /// What they have together, in sizes of buffers.
    pub memory_used: MemoryBytes,
}

impl Config {
    /// The limits of clients that nobody set at run time.
    fn of_client(&self, uid: u32, groups: &BTreeSet<u32>, set: &ClientSettings) -> ClientSettings {
        let policy = ClientSettings {
            max_priority: (uid != ROOT).then_some(self.max_priority),
            ..ClientSettings::default()
        };
        self.limits
            .of_client(uid, groups)
            .or(*set)
            .or(self.limits.client)
            .or(policy)
    }
}

impl Broker {
    /// A session of a user with these groups begins; its limits follow from it.
    pub(crate) fn user_arrives(&mut self, uid: u32, groups: &[u32]) {
        let user = self.quotas.users.entry(uid).or_insert_with(User::unknown);
        user.sessions += 1;
        let known = user.groups.len();
        user.groups.extend(groups);
        if user.sessions == 1 || user.groups.len() > known {
            self.refresh_users(Some(uid));
            self.refresh_sessions(Some(uid));
        }
    }

    /// A session is gone, with all it had.
    pub(crate) fn user_leaves(&mut self, session: &Session) {
        let uid = session.peer.uid;
        let Some(user) = self.quotas.users.get_mut(&uid) else {
            return;
        };
        user.sessions -= 1;
        user.used.device -= session.used.device;
        user.used.shared -= session.used.shared;
        if user.sessions == 0 {
            user.told = None;
            user.groups.clear();
            if user.set == UserSettings::default() {
                self.quotas.users.remove(&uid);
            }
        }
    }

    /// What a session may have.
    pub(crate) fn limits_of(&self, session: &Session) -> ClientLimits {
        self.limits_with(session, &ClientChanges::default(), false)
    }

    /// The same, with its settings changed.
    fn limits_with(
        &self,
        session: &Session,
        changes: &ClientChanges,
        by_owner: bool,
    ) -> ClientLimits {
        let (mut set, mut own) = (session.set, session.own);
        match by_owner {
            true => own.change(changes),
            false => {
                set.change(changes);
                own.change(&changes.overruled());
            }
        }
        let (uid, total) = (session.peer.uid, self.memory_total());
        let nobody = BTreeSet::new();
        let groups = self
            .quotas
            .users
            .get(&uid)
            .map_or(&nobody, |user| &user.groups);
        let policy = self.config.of_client(uid, groups, &self.quotas.defaults);
        let granted = set.or(policy).limits(total);
        let wanted = session.wish.iter().chain([&own]);
        let wanted = wanted.fold(granted, |limits, wish| limits.tightened(wish, total));
        self.within_group(session, wanted)
    }

    /// Memory that is about to be given to a session. `Err` changes nothing.
    pub(crate) fn charge(
        &mut self,
        id: SessionId,
        class: MemoryClass,
        bytes: u64,
    ) -> Result<(), Excess> {
        let total = self.memory_total().of(class);
        let session = self.sessions.get(&id);
        let of_group = session.and_then(|session| self.group_memory(session));
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let Some(user) = self.quotas.users.get_mut(&session.peer.uid) else {
            return Ok(());
        };
        let check = |scope, used: MemoryBytes, most: MemoryBytes| {
            let (used, most) = (used.of(class), most.of(class));
            // Whose limit is all there is finds out what is left of it.
            let fits = used.checked_add(bytes).is_some_and(|sum| sum <= most);
            match fits || most >= total {
                true => Ok(()),
                false => Err(Excess {
                    limit: Limit::Memory,
                    scope,
                    asked: bytes,
                    used,
                    most,
                }),
            }
        };
        check(Scope::Client, session.used, session.limits.memory)?;
        check(Scope::User, user.used, user.limits.memory)?;
        if let Some((used, most)) = of_group {
            check(Scope::Group, used, most)?;
        }
        *session.used.of_mut(class) += bytes;
        *user.used.of_mut(class) += bytes;
        session.charge = Some((class, bytes));
        let group = session.group;
        if let Some(used) = self.group_used(group) {
            *used.of_mut(class) += bytes;
        }
        Ok(())
    }

    /// The memory that a session was charged for will not be given to it.
    pub(crate) fn uncharge(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(&id);
        if let Some((class, bytes)) = session.and_then(|session| session.charge.take()) {
            self.refund(id, class, bytes);
        }
    }

    /// A buffer is freed.
    pub(crate) fn refund(&mut self, id: SessionId, class: MemoryClass, bytes: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        *session.used.of_mut(class) -= bytes;
        if let Some(user) = self.quotas.users.get_mut(&session.peer.uid) {
            *user.used.of_mut(class) -= bytes;
        }
        let group = session.group;
        if let Some(used) = self.group_used(group) {
            *used.of_mut(class) -= bytes;
        }
    }

    /// What a client may have, by its own limit, its user's and its group's.
    pub(crate) fn memory_limit(&self, session: &Session) -> MemoryBytes {
        let user = self.user(session.peer.uid).limits.memory;
        let most = session.limits.memory.least(user);
        let group = self.group_memory(session);
        group.map_or(most, |(_, of_group)| most.least(of_group))
    }

    /// What a client is told of itself.
    pub(crate) fn quota(&self, session: &Session) -> Quota {
        let user = self.user(session.peer.uid).limits;
        let (limits, used) = (session.limits, session.used);
        let most = self.memory_limit(session);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Quota {
            device_bytes: (used.device, most.device),
            shared_bytes: (used.shared, most.shared),
            buffers: (number(session.memory.buffers()), limits.buffers),
            programs: (number(session.programs.len()), limits.programs),
            streams: limits.streams,
            submits: limits.submits,
            cap_percent: limits
                .cap_percent
                .min(user.cap_percent)
                .min(self.group_cap(session).unwrap_or(NO_CAP)),
            weight: limits.weight,
            priority: session.priority,
            demoted: session.demoted,
        }
    }

    /// What a user may have and has, whether it has sessions or not.
    pub fn user(&self, uid: u32) -> UserView {
        match self.quotas.users.get(&uid) {
            Some(user) => UserView {
                limits: user.limits,
                memory_used: user.used,
            },
            None => UserView {
                limits: self
                    .config
                    .limits
                    .of_user(uid, &BTreeSet::new())
                    .limits(self.memory_total()),
                memory_used: MemoryBytes::default(),
            },
        }
    }

    /// What a client of no particular user may have.
    pub fn default_limits(&self) -> ClientLimits {
        let settings = self.quotas.defaults.or(self.config.limits.client);
        settings.limits(self.memory_total())
    }

    /// Whether an administrator set limits that would be forgotten if the daemon left.
    pub fn has_settings(&self) -> bool {
        let set = |user: &User| user.set != UserSettings::default();
        self.quotas.defaults != ClientSettings::default() || self.quotas.users.values().any(set)
    }

    /// What would be reserved for all users together, percent, with these limits and these changes to a user's settings.
    pub fn reserved_percent(&self, limits: &Limits, changes: Option<(u32, UserChanges)>) -> u32 {
        let users = self.quotas.users.iter();
        let mut set: BTreeMap<u32, UserSettings> =
            users.map(|(uid, user)| (*uid, user.set)).collect();
        if let Some((uid, changes)) = changes {
            set.entry(uid).or_default().change(&changes);
        }
        limits.reserved_percent(&set)
    }

    /// The limits in force, as the configuration has them.
    pub fn configured_limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Limits that a client would be beyond with these changes to its settings.
    pub fn would_exceed(
        &self,
        id: SessionId,
        changes: &ClientChanges,
        by_owner: bool,
    ) -> Vec<Limit> {
        let Some(session) = self.sessions.get(&id) else {
            return Vec::new();
        };
        let limits = self.limits_with(session, changes, by_owner);
        exceeded_by(session, &limits)
    }

    /// Limits that a user would be beyond with these changes to its settings.
    pub fn user_would_exceed(&self, uid: u32, changes: &UserChanges) -> Vec<Limit> {
        let Some(user) = self.quotas.users.get(&uid) else {
            return Vec::new();
        };
        let mut set = user.set;
        set.change(changes);
        let settings = set.or(self.config.limits.of_user(uid, &user.groups));
        exceeds(user.used, settings.limits(self.memory_total()).memory)
    }

    /// Whether these changes to a client's settings widen none of its limits.
    pub fn tightens(&self, id: SessionId, changes: &ClientChanges) -> bool {
        let session = self.sessions.get(&id);
        session.is_some_and(|session| session.limits.bounds(changes, self.memory_total()))
    }

    pub(crate) fn set_limits(&mut self, id: SessionId, changes: &ClientChanges, by_owner: bool) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match by_owner {
            true => session.own.change(changes),
            false => {
                session.set.change(changes);
                session.own.change(&changes.overruled());
            }
        }
        let uid = session.peer.uid;
        self.refresh_sessions(Some(uid));
    }

    pub(crate) fn set_default_limits(&mut self, changes: &ClientChanges) {
        self.quotas.defaults.change(changes);
        let limits = self.default_limits();
        self.log(Event::DefaultLimitsChanged { limits });
        self.refresh_sessions(None);
    }

    pub(crate) fn set_user_limits(&mut self, uid: u32, changes: &UserChanges) {
        let user = self.quotas.users.entry(uid).or_insert_with(User::unknown);
        user.set.change(changes);
        let here = user.told.is_some();
        self.refresh_users(Some(uid));
        let Some(user) = self.quotas.users.get(&uid) else {
            return;
        };
        // Of a user that has clients the change itself was told.
        let event = (!here).then(|| user.changed(uid));
        if user.sessions == 0 && user.set == UserSettings::default() {
            self.quotas.users.remove(&uid);
        }
        self.actions.extend(event.map(Action::Log));
    }

    /// Works out again what users may have, one or all, and tells who has to know.
    pub(crate) fn refresh_users(&mut self, only: Option<u32>) {
        let total = self.memory_total();
        let mut news = Vec::new();
        for (uid, user) in &mut self.quotas.users {
            if only.is_some_and(|only| only != *uid) {
                continue;
            }
            let configured = self.config.limits.of_user(*uid, &user.groups);
            let limits = user.set.or(configured).limits(total);
            let before = std::mem::replace(&mut user.limits, limits);
            // A newcomer's are not changed, they begin.
            if before == limits || user.told.is_none() {
                continue;
            }
            let message = user.share(*uid);
            news.extend(message.map(Action::ToEngine));
            news.push(Action::Log(user.changed(*uid)));
        }
        self.actions.extend(news);
    }

    /// Works out again what sessions may have, one user's or all, and tells who has to know.
    pub(crate) fn refresh_sessions(&mut self, only: Option<u32>) {
        let affected = |session: &Session| only.is_none_or(|only| only == session.peer.uid);
        let sessions = self
            .sessions
            .iter()
            .filter(|(_, session)| affected(session));
        let changed: Vec<(SessionId, ClientLimits)> = sessions
            .map(|(id, session)| (*id, session, self.limits_of(session)))
            .filter(|(_, session, limits)| session.limits != *limits)
            .map(|(id, _, limits)| (id, limits))
            .collect();
        for (id, limits) in changed {
            self.put_limits(id, limits);
        }
    }

    fn put_limits(&mut self, id: SessionId, limits: ClientLimits) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut session.limits, limits);
        // What an administrator granted beyond a maximum that does not change stays.
        let lower = limits.max_priority < before.max_priority;
        let priority = match lower {
            true => session.priority.min(limits.max_priority),
            false => session.priority,
        };
        if !matches!(session.phase, Phase::Open { .. }) {
            session.priority = priority;
            return;
        }
        let event = Event::LimitsChanged {
            client: session.client(id),
            limits,
            exceeded: session.exceeded(),
        };
        if (limits.weight, limits.cap_percent) != (before.weight, before.cap_percent) {
            self.push(Action::ToEngine(ToEngine::SetClientShare {
                session: id,
                weight: limits.weight,
                cap_percent: limits.cap_percent,
            }));
        }
        if (limits.streams, limits.submits) != (before.streams, before.submits) {
            self.push(Action::ToEngine(session_limits(id, limits)));
        }
        let ranks_only = ClientLimits {
            max_priority: before.max_priority,
            ..limits
        } == before;
        if !ranks_only {
            self.log(event);
        }
        self.set_priority(id, priority);
    }

    /// Tells the engine what it has to know of a user before a session of it, if it does not.
    pub(crate) fn introduce_user(&mut self, uid: u32) {
        if let Some(user) = self.quotas.users.get_mut(&uid) {
            let message = user.share(uid);
            self.actions.extend(message.map(Action::ToEngine));
        }
    }

    /// Tells the engine of limits of a new session that are its business, where they are not those of the protocol.
    pub(crate) fn introduce_limits(&mut self, id: SessionId, limits: ClientLimits) {
        let widest = ClientSettings::default().limits(MemoryBytes::default());
        if (limits.streams, limits.submits) != (widest.streams, widest.submits) {
            self.push(Action::ToEngine(session_limits(id, limits)));
        }
    }

    /// The engine is gone: the next one knows nothing.
    pub(crate) fn forget_introductions(&mut self) {
        self.quotas
            .users
            .values_mut()
            .for_each(|user| user.told = None);
    }

    /// # Panics
    /// If users do not have what their sessions have.
    pub(crate) fn verify_quotas(&self) {
        let mut users: BTreeMap<u32, (usize, MemoryBytes)> = BTreeMap::new();
        for session in self.sessions.values() {
            let (sessions, used) = users.entry(session.peer.uid).or_default();
            *sessions += 1;
            used.device += session.used.device;
            used.shared += session.used.shared;
            assert_eq!(session.limits, self.limits_of(session), "limits are stale");
        }
        for (uid, user) in &self.quotas.users {
            let (sessions, used) = users.remove(uid).unwrap_or_default();
            assert_eq!(
                (user.sessions, user.used),
                (sessions, used),
                "of user {uid}"
            );
            assert!(user.sessions > 0 || user.set != UserSettings::default());
            assert!(user.told.is_none() || user.sessions > 0);
        }
        assert!(users.is_empty(), "sessions of users that are not known");
    }
}

impl User {
    fn unknown() -> Self {
        Self {
            sessions: 0,
            groups: BTreeSet::new(),
            set: UserSettings::default(),
            limits: UserSettings::default().limits(MemoryBytes::default()),
            used: MemoryBytes::default(),
            told: None,
        }
    }

    fn changed(&self, uid: u32) -> Event {
        Event::UserLimitsChanged {
            uid,
            limits: self.limits,
            exceeded: exceeds(self.used, self.limits.memory),
        }
    }

    /// What the engine has to be told, if it does not know it.
    fn share(&mut self, uid: u32) -> Option<ToEngine> {
        let UserLimits {
            weight,
            cap_percent,
            reserve_percent,
            ..
        } = self.limits;
        let share = (weight, cap_percent, reserve_percent);
        (self.told.replace(share) != Some(share)).then_some(ToEngine::SetUserShare {
            uid,
            weight,
            cap_percent,
            reserve_percent,
        })
    }
}

impl Session {
    /// The excess of one more, where it has as many as it may.
    pub(crate) fn beyond_count(&self, limit: Limit) -> Option<Excess> {
        let (used, most) = match limit {
            Limit::Buffers => (self.memory.buffers() as u64, self.limits.buffers),
            Limit::Programs => (self.programs.len() as u64, self.limits.programs),
            _ => return None,
        };
        (used >= most.into()).then_some(Excess {
            limit,
            scope: Scope::Client,
            asked: 1,
            used,
            most: most.into(),
        })
    }

    /// Limits that it is beyond: they were lowered, and it gets nothing more of these.
    pub(crate) fn exceeded(&self) -> Vec<Limit> {
        exceeded_by(self, &self.limits)
    }
}

/// Limits that a session would be beyond.
fn exceeded_by(session: &Session, limits: &ClientLimits) -> Vec<Limit> {
    let more = |count: usize, most: u32| u32::try_from(count).is_ok_and(|count| count > most);
    let counts = [
        (
            more(session.memory.buffers(), limits.buffers),
            Limit::Buffers,
        ),
        (
            more(session.programs.len(), limits.programs),
            Limit::Programs,
        ),
    ];
    let mut exceeded = exceeds(session.used, limits.memory);
    exceeded.extend(
        counts
            .into_iter()
            .filter_map(|(is, limit)| is.then_some(limit)),
    );
    exceeded
}

/// Whether more memory is in use than there may be.
fn exceeds(used: MemoryBytes, most: MemoryBytes) -> Vec<Limit> {
    match used == used.least(most) {
        true => Vec::new(),
        false => vec![Limit::Memory],
    }
}

fn session_limits(session: SessionId, limits: ClientLimits) -> ToEngine {
    ToEngine::SetSessionLimits {
        session,
        streams: limits.streams,
        submits: limits.submits,
    }
}

/// Its priorities are not limited unless a rule says so.
const ROOT: u32 = 0;
