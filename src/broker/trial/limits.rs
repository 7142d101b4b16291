//! Limits: who decides them, and that they hold.

use super::world::{DEVICE_BYTES, GROUPS, World, code_of, config, register};
use crate::*;
use vkmps_protocol::quota::{Amount, Excess, Limit, Scope};

fn session_of(world: &World, conn: ConnectionId) -> SessionId {
    world.links[&conn].session.expect("a client has a session")
}

fn limits_of(world: &World, conn: ConnectionId) -> ClientLimits {
    let id = session_of(world, conn);
    world.broker.session(id).expect("an open session").limits
}

fn excess_of(message: &DaemonMessage) -> Option<Excess> {
    match message {
        DaemonMessage::Failed { excess, .. } => *excess,
        _ => None,
    }
}

fn memory(bytes: u64) -> ClientSettings {
    ClientSettings {
        memory: Some(Amount::Bytes(bytes)),
        ..ClientSettings::default()
    }
}

fn user_memory(bytes: u64) -> UserSettings {
    UserSettings {
        memory: Some(Amount::Bytes(bytes)),
        ..UserSettings::default()
    }
}

fn with(limits: Limits) -> Config {
    Config { limits, ..config() }
}

fn limited(limits: Limits) -> World {
    let mut world = World::new();
    world.input(Input::Configure(with(limits)));
    world.start_engine();
    world
}

fn is_buffer(message: &DaemonMessage) -> bool {
    matches!(message, DaemonMessage::BufferReady { .. })
}

#[test]
fn a_client_gets_all_of_its_limit_and_not_a_byte_more() {
    let mut world = limited(Limits {
        client: memory(10 << 20),
        ..Limits::default()
    });
    let conn = world.client(1000);
    for _ in 0..10 {
        assert!(is_buffer(&world.allocate(
            conn,
            1 << 20,
            MemoryClass::Device
        )));
    }
    let jobs = world.jobs.len();
    let request = ClientMessage::AllocateBuffer {
        bytes: 1,
        class: MemoryClass::Device,
    };
    let refused = world.asked_at_once(conn, request);
    assert_eq!(world.jobs.len(), jobs, "the engine is not asked");
    assert_eq!(code_of(&refused), Some(ErrorCode::LimitReached));
    let excess = Excess {
        limit: Limit::Memory,
        scope: Scope::Client,
        asked: 256,
        used: 10 << 20,
        most: 10 << 20,
    };
    assert_eq!(excess_of(&refused), Some(excess));
    assert_eq!(
        world.events.last().and_then(Event::limit),
        Some(Limit::Memory)
    );
    assert_eq!(world.quota(conn).device_bytes, (10 << 20, 10 << 20));

    let buffer = *world.links[&conn].buffers.first().unwrap();
    world.asked(conn, ClientMessage::FreeBuffer { buffer });
    assert!(is_buffer(&world.allocate(
        conn,
        1 << 20,
        MemoryClass::Device
    )));
}

#[test]
fn a_user_has_its_limit_over_all_its_clients_and_others_have_theirs() {
    let mut world = limited(Limits {
        user: user_memory(4 << 20),
        ..Limits::default()
    });
    let (one, two, other) = (world.client(1000), world.client(1000), world.client(1001));
    assert!(is_buffer(&world.allocate(
        one,
        3 << 20,
        MemoryClass::Device
    )));
    let refused = world.allocate(two, 2 << 20, MemoryClass::Device);
    let excess = excess_of(&refused).expect("numbers");
    assert_eq!(
        (excess.scope, excess.used, excess.most),
        (Scope::User, 3 << 20, 4 << 20)
    );
    assert!(is_buffer(&world.allocate(
        other,
        4 << 20,
        MemoryClass::Device
    )));
    world.close(one);
    world.work_off();
    assert!(is_buffer(&world.allocate(
        two,
        4 << 20,
        MemoryClass::Device
    )));
}

#[test]
fn what_a_request_that_fails_was_charged_is_given_back() {
    let mut world = limited(Limits {
        client: memory(10 << 20),
        ..Limits::default()
    });
    let conn = world.client(1000);
    let request = ClientMessage::AllocateBuffer {
        bytes: 10 << 20,
        class: MemoryClass::Device,
    };
    world.ask(conn, request);
    world.work(0, false);
    assert_eq!(world.quota(conn).device_bytes, (0, 10 << 20));
    assert!(is_buffer(&world.allocate(
        conn,
        10 << 20,
        MemoryClass::Device
    )));
}

#[test]
fn a_limit_below_what_is_in_use_takes_nothing_away_and_gives_nothing_more() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    world.allocate(conn, 8 << 20, MemoryClass::Device);
    let session = session_of(&world, conn);
    let changes = ClientChanges {
        memory: Change::Set(Amount::Bytes(1 << 20)),
        ..ClientChanges::default()
    };
    assert_eq!(
        world.broker.would_exceed(session, &changes, false),
        [Limit::Memory]
    );
    let by_owner = false;
    world.input(Input::SetLimits {
        session,
        changes,
        by_owner,
    });
    let Some(Event::LimitsChanged { exceeded, .. }) = world.events.last() else {
        panic!("{:?}", world.events.last());
    };
    assert_eq!(exceeded, &[Limit::Memory]);
    assert_eq!(world.quota(conn).device_bytes, (8 << 20, 1 << 20));
    let refused = world.allocate(conn, 1, MemoryClass::Device);
    assert_eq!(code_of(&refused), Some(ErrorCode::LimitReached));
    let buffer = *world.links[&conn].buffers.first().unwrap();
    world.asked(conn, ClientMessage::FreeBuffer { buffer });
    assert!(is_buffer(&world.allocate(
        conn,
        1 << 20,
        MemoryClass::Device
    )));
}

#[test]
fn buffers_and_programs_are_counted() {
    let counts = ClientSettings {
        buffers: Some(2),
        programs: Some(1),
        ..ClientSettings::default()
    };
    let mut world = limited(Limits {
        client: counts,
        ..Limits::default()
    });
    let conn = world.client(1000);
    for _ in 0..2 {
        assert!(is_buffer(&world.allocate(conn, 1, MemoryClass::Shared)));
    }
    let refused = excess_of(&world.allocate(conn, 1, MemoryClass::Shared)).expect("numbers");
    assert_eq!(
        (refused.limit, refused.used, refused.most),
        (Limit::Buffers, 2, 2)
    );
    world.asked(conn, register(1));
    let refused = excess_of(&world.asked(conn, register(2))).expect("numbers");
    assert_eq!(
        (refused.limit, refused.used, refused.most),
        (Limit::Programs, 1, 1)
    );
    assert_eq!(world.quota(conn).programs, (1, 1));
}

#[test]
fn rules_are_for_users_and_for_members_of_groups() {
    let rule = |users: &[u32], groups: &[u32], bytes| Rule {
        users: users.iter().copied().collect(),
        groups: groups.iter().copied().collect(),
        client: memory(bytes),
        user: user_memory(2 * bytes),
    };
    let mut world = limited(Limits {
        rules: vec![
            rule(&[1000], &[], 1 << 20),
            rule(&[], &[1000 + GROUPS, 1001 + GROUPS], 2 << 20),
        ],
        ..Limits::default()
    });
    let clients = [1000, 1001, 1002].map(|uid| world.client(uid));
    let most = clients.map(|conn| limits_of(&world, conn).memory.device);
    assert_eq!(most, [1 << 20, 2 << 20, DEVICE_BYTES]);
    let most = [1000, 1001, 1002].map(|uid| world.broker.user(uid).limits.memory.device);
    assert_eq!(most, [2 << 20, 4 << 20, DEVICE_BYTES]);
}

#[test]
fn new_rules_apply_to_clients_that_are_there() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let rule = Rule {
        users: [1000].into(),
        client: ClientSettings {
            cap_percent: Some(30),
            streams: Some(4),
            max_priority: Some(Priority::Low),
            ..ClientSettings::default()
        },
        user: UserSettings {
            weight: Some(200),
            reserve_percent: Some(25),
            ..UserSettings::default()
        },
        ..Rule::default()
    };
    let rules = vec![rule];
    world.input(Input::Configure(with(Limits {
        rules,
        ..Limits::default()
    })));
    // The world compares what the engine was told with what is in force.
    assert_eq!(limits_of(&world, conn).cap_percent, 30);
    assert_eq!(world.quota(conn).priority, Priority::Low);
    assert_eq!(world.broker.user(1000).limits.reserve_percent, 25);
    world.input(Input::Configure(config()));
    assert_eq!(limits_of(&world, conn).cap_percent, 100);
    assert_eq!(world.broker.user(1000).limits.weight, 100);
}

#[test]
fn a_rule_may_allow_a_user_the_highest_priority() {
    let rule = Rule {
        users: [1000].into(),
        client: ClientSettings {
            max_priority: Some(Priority::Realtime),
            ..ClientSettings::default()
        },
        ..Rule::default()
    };
    let mut world = limited(Limits {
        rules: vec![rule],
        ..Limits::default()
    });
    let (one, other) = (world.client(1000), world.client(1001));
    assert_eq!(world.quota(one).priority, Priority::Realtime);
    assert_eq!(world.quota(other).priority, Priority::High);
}

#[test]
fn what_an_administrator_sets_wins_over_rules_until_it_is_cleared() {
    let mut world = limited(Limits {
        client: memory(4 << 20),
        ..Limits::default()
    });
    let conn = world.client(1000);
    let session = session_of(&world, conn);
    let mut set = |memory| {
        let changes = ClientChanges {
            memory,
            ..ClientChanges::default()
        };
        let by_owner = false;
        world.input(Input::SetLimits {
            session,
            changes,
            by_owner,
        });
        limits_of(&world, conn).memory.device
    };
    assert_eq!(set(Change::Set(Amount::Bytes(8 << 20))), 8 << 20);
    assert_eq!(set(Change::Keep), 8 << 20);
    assert_eq!(set(Change::Clear), 4 << 20);
}

#[test]
fn a_client_can_tighten_its_limits_and_nobody_but_an_administrator_can_widen_them() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let session = session_of(&world, conn);
    let cap = |percent| ClientChanges {
        cap_percent: Change::Set(percent),
        ..ClientChanges::default()
    };
    assert!(world.broker.tightens(session, &cap(30)));
    let by_owner = true;
    world.input(Input::SetLimits {
        session,
        changes: cap(30),
        by_owner,
    });
    assert_eq!(limits_of(&world, conn).cap_percent, 30);
    assert!(!world.broker.tightens(session, &cap(31)));
    assert!(!world.broker.tightens(
        session,
        &ClientChanges {
            cap_percent: Change::Clear,
            ..ClientChanges::default()
        }
    ));
    // An administrator has the last word, but for what the client itself wished for when it came.
    let by_owner = false;
    world.input(Input::SetLimits {
        session,
        changes: cap(50),
        by_owner,
    });
    assert_eq!(limits_of(&world, conn).cap_percent, 50);
}

#[test]
fn settings_of_users_outlive_their_clients_and_count_as_reserved() {
    let mut world = World::with_engine();
    let changes = UserChanges {
        memory: Change::Set(Amount::Percent(50)),
        reserve_percent: Change::Set(60),
        ..UserChanges::default()
    };
    assert!(!world.broker.has_settings());
    world.input(Input::SetUserLimits { uid: 1000, changes });
    assert!(world.broker.has_settings());
    let conn = world.client(1000);
    world.close(conn);
    world.work_off();
    assert_eq!(
        world.broker.user(1000).limits.memory.device,
        DEVICE_BYTES / 2
    );
    let more = UserChanges {
        reserve_percent: Change::Set(41),
        ..UserChanges::default()
    };
    let limits = world.broker.configured_limits().clone();
    assert_eq!(
        world.broker.reserved_percent(&limits, Some((1001, more))),
        101
    );
    assert_eq!(
        world.broker.reserved_percent(&limits, Some((1000, more))),
        41
    );
    let changes = UserChanges {
        memory: Change::Clear,
        reserve_percent: Change::Clear,
        ..UserChanges::default()
    };
    world.input(Input::SetUserLimits { uid: 1000, changes });
    assert!(!world.broker.has_settings());
}

#[test]
fn a_hello_with_limits_beyond_their_bounds_is_a_violation() {
    use super::world::hello;
    use vkmps_protocol::VERSION_MAJOR;
    use vkmps_protocol::quota::Wish;
    let bad = [
        (Some(0), None, None),
        (None, Some(0), None),
        (None, Some(101), None),
        (None, None, Some(0)),
        (None, None, Some(101)),
    ];
    for (memory_bytes, memory_percent, cap_percent) in bad {
        let mut world = World::with_engine();
        let conn = world.connect(1000);
        let ClientMessage::Hello(mut message) = hello(VERSION_MAJOR, Priority::Low) else {
            panic!("it is a hello");
        };
        message.wish = Wish {
            memory_bytes,
            memory_percent,
            cap_percent,
        };
        let wish = message.wish;
        world.ask(conn, ClientMessage::Hello(message));
        assert!(!world.links.contains_key(&conn), "{wish:?}");
    }
}

#[test]
fn a_client_gets_no_more_than_it_wishes_for() {
    use super::world::hello;
    use vkmps_protocol::VERSION_MAJOR;
    use vkmps_protocol::quota::Wish;
    for (memory_bytes, memory_percent, most) in [
        (Some(8 << 20), None, 8 << 20),
        (None, Some(50), DEVICE_BYTES / 2),
        (Some(8 << 20), Some(50), 8 << 20),
        (Some(u64::MAX), Some(1), DEVICE_BYTES / 100),
    ] {
        let mut world = World::with_engine();
        let conn = world.connect(1000);
        let ClientMessage::Hello(mut message) = hello(VERSION_MAJOR, Priority::Low) else {
            panic!("it is a hello");
        };
        message.wish = Wish {
            memory_bytes,
            memory_percent,
            cap_percent: Some(30),
        };
        world.ask(conn, ClientMessage::Hello(message));
        world.work_off();
        assert_eq!(limits_of(&world, conn).memory.device, most);
        assert_eq!(limits_of(&world, conn).cap_percent, 30);
    }
}

#[test]
fn who_has_something_and_asks_for_the_impossible_is_refused_and_charged_nothing() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    world.allocate(conn, 1 << 20, MemoryClass::Device);
    for bytes in [u64::MAX, u64::MAX - 300, u64::MAX >> 1, DEVICE_BYTES] {
        let refused = world.allocate(conn, bytes, MemoryClass::Device);
        assert_eq!(code_of(&refused), Some(ErrorCode::OutOfDeviceMemory));
        assert_eq!(world.quota(conn).device_bytes.0, 1 << 20);
    }
}
