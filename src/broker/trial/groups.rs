//! Session groups: what their clients may have together, and how they end.

use super::world::{World, code_of, config, hello};
use crate::*;
use vkmps_protocol::group::{GroupId, GroupLimits, MAX_TTL_MS, NewGroup, OpenGroup};
use vkmps_protocol::limits::MAX_GROUPS_PER_UID;
use vkmps_protocol::quota::{Amount, Scope};
use vkmps_protocol::token::{Pass, Token};
use vkmps_protocol::{MAGIC, VERSION_MAJOR};

const MIB: u64 = 1 << 20;

/// A group whose token is a number.
pub(super) fn new_group(token: u8, limits: GroupLimits, seconds: u64) -> NewGroup {
    NewGroup {
        name: format!("group {token}"),
        token: Token([token; 32]),
        limits,
        ttl_ms: seconds * 1000,
    }
}

pub(super) fn open_group(token: u8, limits: GroupLimits, seconds: u64) -> ClientMessage {
    ClientMessage::OpenGroup(OpenGroup {
        magic: MAGIC,
        version: VERSION_MAJOR,
        pass: None,
        group: new_group(token, limits, seconds),
    })
}

pub(super) fn join(token: u8) -> ClientMessage {
    let ClientMessage::Hello(mut greeting) = hello(VERSION_MAJOR, Priority::Realtime) else {
        panic!("it is one");
    };
    greeting.group = Some(Token([token; 32]));
    ClientMessage::Hello(greeting)
}

fn memory(bytes: u64) -> GroupLimits {
    GroupLimits {
        memory: Some(Amount::Bytes(bytes)),
        ..GroupLimits::default()
    }
}

impl World {
    /// A connection that holds a group.
    fn holder(&mut self, uid: u32, limits: GroupLimits, seconds: u64) -> (ConnectionId, GroupId) {
        let conn = self.connect(uid);
        self.ask(conn, open_group(7, limits, seconds));
        (conn, self.links[&conn].group.expect("a group was opened"))
    }

    fn member(&mut self, uid: u32) -> ConnectionId {
        let conn = self.connect(uid);
        self.ask(conn, join(7));
        self.work_off();
        assert!(self.links[&conn].session.is_some());
        conn
    }

    /// What a newcomer with the token hears.
    fn joins(&mut self, uid: u32) -> Option<ErrorCode> {
        let conn = self.connect(uid);
        self.refusal(conn, join(7))
    }

    fn refusal(&mut self, conn: ConnectionId, message: ClientMessage) -> Option<ErrorCode> {
        let actions = self
            .broker
            .handle(Input::Message { conn, message }, self.now);
        let mut code = None;
        for action in actions.collect::<Vec<_>>() {
            if let Action::Send { message, .. } = &action {
                code = code_of(message);
            }
            self.links
                .get_mut(&conn)
                .into_iter()
                .for_each(|link| link.awaiting = true);
            self.perform(action);
        }
        self.work_off();
        self.links
            .get_mut(&conn)
            .into_iter()
            .for_each(|link| link.awaiting = false);
        code
    }
}

#[test]
fn the_clients_of_a_group_have_its_memory_together_and_others_lose_nothing() {
    let mut world = World::with_engine();
    let (holder, group) = world.holder(1000, memory(64 * MIB), 0);
    let (one, two, free) = (world.member(1000), world.member(1000), world.client(1000));
    let ready = |message: &DaemonMessage| matches!(message, DaemonMessage::BufferReady { .. });
    assert!(ready(&world.allocate(one, 40 * MIB, MemoryClass::Device)));
    let refused = world.allocate(two, 30 * MIB, MemoryClass::Device);
    let DaemonMessage::Failed {
        code: ErrorCode::LimitReached,
        excess: Some(excess),
        ..
    } = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (excess.scope, excess.asked, excess.used, excess.most),
        (Scope::Group, 30 * MIB, 40 * MIB, 64 * MIB)
    );
    assert!(excess.to_string().starts_with("this session has"));
    assert_eq!(world.quota(two).device_bytes, (0, 64 * MIB));
    assert!(ready(&world.allocate(free, 100 * MIB, MemoryClass::Device)));
    assert!(ready(&world.allocate(two, 24 * MIB, MemoryClass::Device)));
    let view = world.broker.group(group).expect("it is open");
    assert_eq!((view.memory_used.device, view.members), (64 * MIB, 2));

    world.close(one);
    world.work_off();
    assert!(ready(&world.allocate(two, 40 * MIB, MemoryClass::Device)));
    world.close(holder);
    world.work_off();
    assert!(world.links.contains_key(&free) && !world.links.contains_key(&two));
    assert!(world.broker.group(group).is_none());
    assert_eq!(world.broker.user(1000).memory_used.device, 100 * MIB);
}

#[test]
fn a_group_ends_at_its_time_and_its_clients_hear_why() {
    let mut world = World::with_engine();
    let (holder, group) = world.holder(1000, memory(MIB), 5);
    let member = world.member(1000);
    let session = world.links[&member].session;
    assert_eq!(world.broker.next_deadline(), Some(Duration::from_secs(5)));
    world.now = Duration::from_secs(5);
    world.input(Input::Tick);
    assert!(!world.links.contains_key(&holder) && !world.links.contains_key(&member));
    let ended = |event: &&Event| matches!(event, Event::GroupEnded { end: GroupEnd::Expired, group: id, .. } if *id == group);
    assert_eq!(world.events.iter().filter(ended).count(), 1);
    let over = Cause::Ended(ErrorCode::SessionOver);
    let told = |event: &Event| matches!(event, Event::ClientDisconnected { client, cause } if client.session == session && *cause == over);
    assert!(world.events.iter().any(told));
    assert_eq!(world.joins(1000), Some(ErrorCode::SessionOver));
    assert_eq!(world.broker.next_deadline(), None);
}

#[test]
fn who_waits_for_an_engine_is_told_that_its_group_is_over() {
    let mut world = World::new();
    let (_, group) = world.holder(1000, memory(MIB), 0);
    let conn = world.connect(1000);
    world.ask(conn, join(7));
    world.input(Input::ReleaseGroup { group });
    assert!(!world.links.contains_key(&conn));
    world.start_engine();
    world.work_off();
    assert_eq!(world.broker.connections(), 0);
}

#[test]
fn a_group_limits_priorities_and_how_many_its_clients_are() {
    let mut world = World::with_engine();
    let limits = GroupLimits {
        max_priority: Some(Priority::Low),
        clients: Some(1),
        ..GroupLimits::default()
    };
    world.holder(1000, limits, 0);
    let member = world.member(1000);
    assert_eq!(world.quota(member).priority, Priority::Low);
    assert_eq!(world.joins(1000), Some(ErrorCode::DaemonFull));
    world.close(member);
    world.work_off();
    world.member(1000);
}

#[test]
fn a_token_is_good_for_its_user_and_one_of_root_for_all() {
    let mut world = World::with_engine();
    let (holder, _) = world.holder(1000, GroupLimits::default(), 0);
    assert_eq!(world.joins(1001), Some(ErrorCode::PermissionDenied));
    assert_eq!(world.joins(0), Some(ErrorCode::PermissionDenied));
    let unknown = world.connect(1000);
    assert_eq!(
        world.refusal(unknown, join(8)),
        Some(ErrorCode::SessionOver)
    );
    world.close(holder);
    world.holder(0, GroupLimits::default(), 0);
    world.member(1001);
}

#[test]
fn a_user_can_open_so_many_groups_and_others_still_can() {
    let mut world = World::with_engine();
    for token in 0..MAX_GROUPS_PER_UID {
        let conn = world.connect(1000);
        let token = u8::try_from(token).unwrap();
        world.ask(conn, open_group(token, GroupLimits::default(), 0));
        assert!(world.links[&conn].group.is_some());
    }
    let one_more = world.connect(1000);
    let request = open_group(200, GroupLimits::default(), 0);
    assert_eq!(
        world.refusal(one_more, request.clone()),
        Some(ErrorCode::LimitReached)
    );
    let other = world.connect(1001);
    world.ask(other, request);
    assert!(world.links[&other].group.is_some());
    // Groups take no client's place.
    world.client(1000);
    // Whose token it is already is nobody else's.
    let thief = world.connect(1002);
    let request = open_group(200, GroupLimits::default(), 0);
    assert_eq!(world.refusal(thief, request), Some(ErrorCode::LimitReached));
}

#[test]
fn a_bad_group_and_a_holder_that_asks_for_more_are_violations() {
    let mut world = World::with_engine();
    let cap = |cap_percent| GroupLimits {
        cap_percent: Some(cap_percent),
        ..GroupLimits::default()
    };
    let none = GroupLimits {
        clients: Some(0),
        ..GroupLimits::default()
    };
    let year = MAX_TTL_MS / 1000;
    for (limits, seconds) in [
        (cap(0), 0),
        (cap(101), 0),
        (memory(0), 0),
        (none, 0),
        (cap(1), year + 1),
    ] {
        let conn = world.connect(1000);
        let request = open_group(9, limits, seconds);
        assert_eq!(world.refusal(conn, request), Some(ErrorCode::Protocol));
    }
    let (holder, group) = world.holder(1000, cap(30), year);
    let member = world.member(1000);
    for request in [ClientMessage::QueryQuota, join(7), open_group(9, cap(1), 0)] {
        assert!(world.broker.group(group).is_some());
        if request == ClientMessage::QueryQuota {
            continue;
        }
        let client = world.client(1000);
        assert_eq!(world.refusal(client, request), Some(ErrorCode::Protocol));
    }
    world.refusal(holder, ClientMessage::QueryQuota);
    assert!(world.broker.group(group).is_none() && !world.links.contains_key(&member));
}

#[test]
fn where_a_token_is_asked_for_nobody_connects_without_it() {
    let mut world = World::with_engine();
    let pass = |text: &str| Some(Pass(text.as_bytes().to_vec()));
    world.input(Input::Configure(Config {
        pass: pass("sesame"),
        ..config()
    }));
    for shown in [None, pass("sesam"), pass("sesame\0"), pass("")] {
        let ClientMessage::Hello(mut greeting) = hello(VERSION_MAJOR, Priority::Low) else {
            panic!("it is one");
        };
        greeting.pass = shown.clone();
        let conn = world.connect(0);
        let greeting = ClientMessage::Hello(greeting);
        assert_eq!(
            world.refusal(conn, greeting),
            Some(ErrorCode::PermissionDenied)
        );
        let ClientMessage::OpenGroup(mut open) = open_group(1, GroupLimits::default(), 0) else {
            panic!("it is one");
        };
        open.pass = shown;
        let conn = world.connect(0);
        let open = ClientMessage::OpenGroup(open);
        assert_eq!(world.refusal(conn, open), Some(ErrorCode::PermissionDenied));
    }
    let ClientMessage::Hello(mut greeting) = hello(VERSION_MAJOR, Priority::Low) else {
        panic!("it is one");
    };
    greeting.pass = pass("sesame");
    let conn = world.connect(1000);
    world.ask(conn, ClientMessage::Hello(greeting));
    world.work_off();
    assert!(world.links[&conn].session.is_some());
}
