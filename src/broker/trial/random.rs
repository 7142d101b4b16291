//! Random operations, answers in random order, random failures.

use super::groups::{join, new_group, open_group};
use super::world::{DEVICE_BYTES, Link, World, config, hash_of, register};
use crate::*;
use proptest::prelude::*;
use vkmps_protocol::DecodeError;
use vkmps_protocol::engine::FromEngine;
use vkmps_protocol::group::{GroupId, GroupLimits};
use vkmps_protocol::handle::{BufferId, ProgramId};
use vkmps_protocol::quota::Amount;
use vkmps_protocol::sharing::{Audience, Grant, ShareName, Token};

#[derive(Debug, Clone, Copy)]
enum Op {
    Connect(u32),
    Hello(usize),
    Allocate(usize, u64, MemoryClass),
    Free(usize, usize),
    Share(usize, u64),
    Offer(usize, usize, Option<u32>, Grant),
    Attach(usize, usize),
    Register(usize, u8),
    Release(usize, usize),
    Garbage(usize),
    Close(usize),
    Stall(usize),
    Work(usize),
    Fail(usize),
    StartEngine,
    EngineCannotStart,
    KillEngine(u8),
    Fault(usize),
    Wait(u64),
    SetPriority(usize, Priority),
    Terminate(usize),
    SetAdmission(Admission),
    Configure(Priority, usize, usize),
    /// Of a client, by its owner if it may.
    SetLimits(usize, ClientChanges, bool),
    SetUserLimits(u32, UserChanges),
    SetDefaultLimits(ClientChanges),
    Demote(usize, bool),
    QueryQuota(usize),
    /// Of a client that has not greeted yet; the number is its token. For so many seconds.
    OpenGroup(usize, u8, GroupLimits, u64),
    /// For somebody without a connection.
    HoldGroup(u32, u8, GroupLimits, u64),
    ReleaseGroup(usize),
    /// With the token of a group, or of none.
    Join(usize, u8),
    Stop,
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop_oneof![Just(MemoryClass::Shared), Just(MemoryClass::Device)];
    let grant = prop_oneof![Just(Grant::ReadOnly), Just(Grant::ReadWrite)];
    let audience = prop_oneof![Just(None), (1000..1003u32).prop_map(Some)];
    let bytes = prop_oneof![
        6 => 0..100_000u64,
        3 => 0..64u64 << 20,
        1 => prop_oneof![Just(u64::MAX), Just(u64::MAX - 300), Just(1 << 60), Just(DEVICE_BYTES)],
    ];
    let client = 0..12usize;
    let priority = prop_oneof![
        Just(Priority::Low),
        Just(Priority::Medium),
        Just(Priority::High),
        Just(Priority::Realtime),
    ];
    let limits = (priority.clone(), 0..16usize, 0..16usize);
    prop_oneof![
        4 => (1000..1003u32).prop_map(Op::Connect),
        6 => client.clone().prop_map(Op::Hello),
        4 => (client.clone(), bytes.clone()).prop_map(|(c, b)| Op::Share(c, b)),
        4 => (client.clone(), 0..4usize, audience, grant).prop_map(|(c, b, a, g)| Op::Offer(c, b, a, g)),
        4 => (client.clone(), 0..8usize).prop_map(|(c, o)| Op::Attach(c, o)),
        8 => (client.clone(), bytes, class).prop_map(|(c, b, m)| Op::Allocate(c, b, m)),
        5 => (client.clone(), 0..8usize).prop_map(|(c, b)| Op::Free(c, b)),
        6 => (client.clone(), 0..6u8).prop_map(|(c, p)| Op::Register(c, p)),
        3 => (client.clone(), 0..4usize).prop_map(|(c, p)| Op::Release(c, p)),
        1 => client.clone().prop_map(Op::Garbage),
        2 => client.clone().prop_map(Op::Close),
        1 => client.clone().prop_map(Op::Stall),
        24 => (0..20usize).prop_map(Op::Work),
        2 => (0..20usize).prop_map(Op::Fail),
        3 => Just(Op::StartEngine),
        1 => Just(Op::EngineCannotStart),
        1 => (0..6u8).prop_map(Op::KillEngine),
        1 => client.clone().prop_map(Op::Fault),
        1 => (1..11u64).prop_map(Op::Wait),
        3 => (client.clone(), priority).prop_map(|(c, p)| Op::SetPriority(c, p)),
        1 => client.prop_map(Op::Terminate),
        1 => prop_oneof![1 => Just(Admission::Closed), 3 => Just(Admission::Open)].prop_map(Op::SetAdmission),
        1 => limits.prop_map(|(p, all, uid)| Op::Configure(p, all, uid)),
        3 => (0..12usize, client_changes(), any::<bool>()).prop_map(|(c, l, own)| Op::SetLimits(c, l, own)),
        2 => (1000..1003u32, user_changes()).prop_map(|(uid, l)| Op::SetUserLimits(uid, l)),
        1 => client_changes().prop_map(Op::SetDefaultLimits),
        1 => (0..12usize, any::<bool>()).prop_map(|(c, d)| Op::Demote(c, d)),
        1 => (0..12usize).prop_map(Op::QueryQuota),
        2 => (0..12usize, 0..6u8, group_limits(), 0..20u64).prop_map(|(c, t, l, s)| Op::OpenGroup(c, t, l, s)),
        1 => (1000..1003u32, 0..6u8, group_limits(), 0..20u64).prop_map(|(u, t, l, s)| Op::HoldGroup(u, t, l, s)),
        1 => (0..4usize).prop_map(Op::ReleaseGroup),
        6 => (0..12usize, 0..7u8).prop_map(|(c, t)| Op::Join(c, t)),
        1 => prop_oneof![99 => Just(Op::StartEngine), 1 => Just(Op::Stop)],
    ]
}

fn change<T: Copy + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Change<T>> {
    prop_oneof![3 => Just(Change::Keep), 1 => Just(Change::Clear), 3 => value.prop_map(Change::Set)]
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        (1..=100u8).prop_map(Amount::Percent),
        (1..128u64 << 20).prop_map(Amount::Bytes)
    ]
}

fn client_changes() -> impl Strategy<Value = ClientChanges> {
    let counts = (
        change(0..6u32),
        change(0..6u32),
        change(1..300u32),
        change(1..40_000u32),
    );
    (
        change(amount()),
        change(1..=100u8),
        change(1..=10_000u16),
        counts,
    )
        .prop_map(
            |(memory, cap_percent, weight, (buffers, programs, streams, submits))| ClientChanges {
                memory,
                cap_percent,
                weight,
                buffers,
                programs,
                streams,
                submits,
            },
        )
}

fn group_limits() -> impl Strategy<Value = GroupLimits> {
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::High)];
    use prop::option::of;
    (of(amount()), of(1..=100u8), of(priority), of(1..4u32)).prop_map(
        |(memory, cap_percent, max_priority, clients)| GroupLimits {
            memory,
            cap_percent,
            max_priority,
            clients,
        },
    )
}

fn user_changes() -> impl Strategy<Value = UserChanges> {
    let shares = (change(1..=100u8), change(1..=10_000u16), change(0..=30u8));
    (change(amount()), shares).prop_map(|(memory, (cap_percent, weight, reserve_percent))| {
        UserChanges {
            memory,
            cap_percent,
            weight,
            reserve_percent,
        }
    })
}

impl World {
    fn apply(&mut self, op: Op) {
        let conn = match op {
            Op::Hello(n) | Op::Garbage(n) | Op::Close(n) | Op::Stall(n) | Op::Fault(n) => {
                self.nth(n)
            }
            Op::SetPriority(n, _) | Op::Terminate(n) | Op::QueryQuota(n) => self.nth(n),
            Op::SetLimits(n, ..) | Op::Demote(n, _) => self.nth(n),
            Op::OpenGroup(n, ..) | Op::Join(n, _) => self.nth(n),
            Op::Share(n, _) | Op::Offer(n, ..) | Op::Attach(n, _) => self.nth(n),
            Op::Allocate(n, ..) | Op::Free(n, _) | Op::Register(n, _) | Op::Release(n, _) => {
                self.nth(n)
            }
            _ => Some(ConnectionId(0)),
        };
        let Some(conn) = conn else { return };
        match op {
            Op::Connect(uid) => drop(self.connect(uid)),
            Op::Hello(_) => self.hello(conn),
            Op::Allocate(_, bytes, class) => {
                let asked = self.links.get(&conn).is_some_and(|link| !link.awaiting);
                self.ask(conn, ClientMessage::AllocateBuffer { bytes, class });
                let link = &self.links.get(&conn);
                let refused = |link: &Link| matches!(link.last, Some(DaemonMessage::Failed { .. }));
                if asked && link.is_some_and(|link| !refused(link)) {
                    self.verify_within_limits(conn, class);
                }
            }
            Op::Free(_, which) => {
                let Some(link) = self.links.get(&conn).filter(|link| !link.awaiting) else {
                    return;
                };
                // Beyond the own ones: a handle that another session has, or nobody.
                let own = link.buffers.iter().nth(which).copied();
                let buffer = own.unwrap_or(BufferId(u64::MAX));
                let was_own = link.buffers.contains(&buffer);
                self.ask(conn, ClientMessage::FreeBuffer { buffer });
                if let Some(link) = self.links.get(&conn) {
                    assert_eq!(was_own, link.last == Some(DaemonMessage::Done));
                }
            }
            Op::Share(_, bytes) => self.ask(conn, ClientMessage::AllocateShareable { bytes }),
            Op::Offer(_, which, user, grant) => self.offer(conn, which, user, grant),
            Op::Attach(_, which) => self.attach(conn, which),
            Op::Register(_, which) => self.ask(conn, register(which)),
            Op::Release(_, which) => {
                let Some(link) = self.links.get(&conn).filter(|link| !link.awaiting) else {
                    return;
                };
                let own = link.programs.iter().nth(which).copied();
                let program = own.unwrap_or(ProgramId(7 << 32));
                let was_own = link.programs.contains(&program);
                self.ask(conn, ClientMessage::ReleaseProgram { program });
                if let Some(link) = self.links.get(&conn) {
                    assert_eq!(was_own, link.last == Some(DaemonMessage::Done));
                }
            }
            Op::Garbage(_) => {
                self.input(Input::BadMessage {
                    conn,
                    error: DecodeError::Malformed(3),
                });
                assert!(!self.links.contains_key(&conn));
            }
            Op::Close(_) => self.close(conn),
            Op::Stall(_) => self.input(Input::ConnectionStalled { conn }),
            Op::Work(index) => self.work(index, true),
            Op::Fail(index) => self.work(index, false),
            Op::StartEngine => {
                if !self.exited {
                    self.start_engine();
                }
            }
            Op::EngineCannotStart => {
                if self.engine.is_none() {
                    let text = "no device".to_owned();
                    self.input(Input::Engine(FromEngine::StartFailed { text }));
                }
            }
            Op::KillEngine(which) => {
                let suspect = hash_of(&Source {
                    entry: format!("main{which}"),
                    module_bytes: 0,
                    specialization: Vec::new(),
                });
                self.kill_engine(&[suspect]);
            }
            Op::Fault(_) => {
                if let Some(session) = self.links[&conn].session
                    && self.engine.is_some()
                {
                    let text = "bad ring".to_owned();
                    self.input(Input::Engine(FromEngine::SessionFault { session, text }));
                    assert!(!self.links.contains_key(&conn));
                }
            }
            Op::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                if self
                    .broker
                    .next_deadline()
                    .is_some_and(|deadline| deadline <= self.now)
                {
                    self.input(Input::Tick);
                }
                assert!(
                    self.broker
                        .next_deadline()
                        .is_none_or(|deadline| deadline > self.now)
                );
            }
            Op::SetPriority(_, priority) => {
                // Who has no session yet, or none any more, is nobody to the broker.
                let session = self.links[&conn].session.unwrap_or(SessionId(1));
                self.input(Input::SetPriority { session, priority });
                let seen = self.broker.session(session).map(|view| view.priority);
                assert!(seen.is_none_or(|seen| seen == priority));
            }
            Op::Terminate(_) => {
                let session = self.links[&conn].session.unwrap_or(SessionId(1));
                self.input(Input::Terminate { session });
                assert!(self.broker.session(session).is_none());
            }
            Op::SetAdmission(admission) => {
                self.input(Input::SetAdmission(admission));
                assert_eq!(self.broker.admission(), admission);
            }
            Op::Configure(max_priority, max_sessions, max_sessions_per_uid) => {
                let lowers = max_priority < self.broker.config.max_priority;
                self.input(Input::Configure(Config {
                    max_priority,
                    max_sessions,
                    max_sessions_per_uid,
                    ..config()
                }));
                let within = |view: SessionView<'_>| view.priority <= max_priority;
                assert!(!lowers || self.broker.sessions().all(within));
            }
            Op::SetLimits(_, changes, by_owner) => {
                let session = self.links[&conn].session.unwrap_or(SessionId(1));
                if by_owner && !self.broker.tightens(session, &changes) {
                    return;
                }
                let before = self.broker.session(session).map(|view| view.limits);
                let exceeded = self.broker.would_exceed(session, &changes, by_owner);
                let lines = self.events.len();
                self.input(Input::SetLimits {
                    session,
                    changes,
                    by_owner,
                });
                let after = self.broker.session(session).map(|view| view.limits);
                if before == after {
                    assert_eq!(self.events.len(), lines, "nothing changed, nothing is told");
                    return;
                }
                let told = self.events[lines..].iter().find_map(|event| match event {
                    Event::LimitsChanged {
                        client,
                        limits,
                        exceeded,
                    } if client.session == Some(session) => Some((*limits, exceeded.clone())),
                    _ => None,
                });
                assert_eq!(told, after.map(|limits| (limits, exceeded)));
            }
            Op::SetUserLimits(uid, changes) => {
                let exceeded = self.broker.user_would_exceed(uid, &changes);
                self.input(Input::SetUserLimits { uid, changes });
                let user = self.broker.user(uid);
                let within = user.memory_used == user.memory_used.least(user.limits.memory);
                assert_eq!(within, exceeded.is_empty());
            }
            Op::SetDefaultLimits(changes) => self.input(Input::SetDefaultLimits(changes)),
            Op::Demote(_, demoted) => {
                if let Some(session) = self.links[&conn].session
                    && self.engine.is_some()
                {
                    self.input(Input::Engine(FromEngine::Demoted { session, demoted }));
                }
            }
            Op::OpenGroup(_, token, limits, seconds) => {
                self.ask(conn, open_group(token, limits, seconds));
            }
            Op::HoldGroup(uid, token, limits, seconds) => {
                let group = new_group(token, limits, seconds);
                let refused = self.broker.refuses_group(uid, &group).is_some();
                let next = self.broker.next_group();
                let peer = Peer { uid, pid: 0 };
                self.input(Input::OpenGroup { peer, group });
                assert_ne!(refused, self.broker.group(next).is_some());
            }
            Op::ReleaseGroup(which) => {
                let group = self.broker.groups().nth(which).map(|group| group.id);
                if let Some(group) = group {
                    self.input(Input::ReleaseGroup { group });
                    assert!(self.broker.group(group).is_none());
                    let member = |view: SessionView<'_>| view.group == Some(group);
                    assert!(!self.broker.sessions().any(member));
                }
            }
            Op::Join(_, token) => self.ask(conn, join(token)),
            Op::QueryQuota(_) => self.ask(conn, ClientMessage::QueryQuota),
            Op::Stop => {
                self.input(Input::Stop);
                assert!(self.broker.leaving != Leaving::No);
            }
        }
    }
}

impl World {
    /// What was not refused is within the limits of the client and of its user, unless these are all there is.
    fn verify_within_limits(&self, conn: ConnectionId, class: MemoryClass) {
        let session = self.links[&conn].session;
        if let Some(view) = session.and_then(|id| self.broker.session(id)) {
            let user = self.broker.user(view.peer.uid);
            assert!(view.memory_charged.of(class) <= view.limits.memory.of(class));
            assert!(user.memory_used.of(class) <= user.limits.memory.of(class));
            assert!(view.buffers <= view.limits.buffers as usize);
            if let Some(group) = view.group.and_then(|group| self.broker.group(group)) {
                assert!(group.memory_used.of(class) <= group.memory_limit.of(class));
            }
        }
    }

    fn offer(&mut self, conn: ConnectionId, which: usize, user: Option<u32>, grant: Grant) {
        let link = &self.links[&conn];
        let own = link.buffers.iter().nth(which).copied();
        let (Some(session), Some(buffer), false) = (link.session, own, link.awaiting) else {
            return;
        };
        let audience = match user {
            Some(uid) => Audience::User(uid),
            None => Audience::Holder(Token([u8::try_from(which).unwrap(); 32])),
        };
        let message = ClientMessage::OfferBuffer {
            buffer,
            audience,
            grant,
        };
        self.ask(conn, message);
        if self
            .links
            .get(&conn)
            .is_some_and(|link| link.last == Some(DaemonMessage::Done))
        {
            self.offers.push((ShareName { session, buffer }, audience));
        }
    }

    fn attach(&mut self, conn: ConnectionId, which: usize) {
        let offer = self.offers.get(which).copied();
        // Where there is none, a name that nobody has.
        let buffer = BufferId(7 << 32);
        let nobody = ShareName {
            session: SessionId(u64::MAX),
            buffer,
        };
        let (name, audience) = offer.unwrap_or((nobody, Audience::User(1000)));
        let token = match audience {
            Audience::Holder(token) => Some(token),
            Audience::User(_) => None,
        };
        if self.links[&conn].awaiting {
            return;
        }
        let user = self.links[&conn]
            .session
            .and_then(|id| self.broker.session(id));
        let uid = user.map(|view| view.peer.uid);
        self.ask(conn, ClientMessage::AttachBuffer { name, token });
        let last = self.links.get(&conn).and_then(|link| link.last.clone());
        if let Some(DaemonMessage::ShareReady { .. }) = last {
            assert!(offer.is_some() && self.broker.session(name.session).is_some());
            assert!(!matches!(audience, Audience::User(user) if Some(user) != uid));
            if token.is_some() {
                self.offers.retain(|other| Some(*other) != offer);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_books_balance_and_nothing_is_left(ops in prop::collection::vec(op(), 0..250)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        while let Some(conn) = world.nth(0) {
            world.close(conn);
        }
        let groups: Vec<GroupId> = world.broker.groups().map(|group| group.id).collect();
        for group in groups {
            world.input(Input::ReleaseGroup { group });
        }
        world.work_off();
        prop_assert_eq!(world.broker.connections(), 0);
        prop_assert!(world.broker.sessions.is_empty() && world.broker.connections.is_empty());
        prop_assert_eq!(world.broker.budget.device.used_bytes, 0);
        prop_assert_eq!(world.broker.budget.shared.used_bytes, 0);
        prop_assert_eq!(world.broker.budget.chunks.used, 0);
        prop_assert!(world.broker.shares.is_empty() && world.files.is_empty());
        prop_assert_eq!(world.broker.free_slots.len(), MAX_SESSIONS);
        for hash in &world.kept {
            let program = world.broker.programs.get(*hash);
            prop_assert!(program.is_some(), "the daemon keeps a program that the broker forgot");
        }
    }
}
