//! What administrators do, and who notices.

use super::world::{DEVICE_BYTES, World, code_of, config, register};
use crate::*;
use vkmps_protocol::limits::MAX_SESSIONS_PER_UID;
use vkmps_protocol::quota::Limit;

fn session_of(world: &World, conn: ConnectionId) -> SessionId {
    world.links[&conn].session.expect("a client has a session")
}

fn priority_of(world: &World, conn: ConnectionId) -> Priority {
    let id = session_of(world, conn);
    world.broker.session(id).expect("an open session").priority
}

fn refusal_of(world: &World, code: ErrorCode) -> Option<&str> {
    world.events.iter().rev().find_map(|event| match event {
        Event::ConnectionRefused { code: of, text, .. } if *of == code => Some(text.as_str()),
        _ => None,
    })
}

fn last_limit(world: &World) -> Option<Limit> {
    world.events.last().and_then(Event::limit)
}

#[test]
fn a_priority_that_is_changed_reaches_the_engine_once_and_the_log() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let session = session_of(&world, conn);
    let lines = world.events.len();
    for _ in 0..2 {
        let priority = Priority::Realtime;
        world.input(Input::SetPriority { session, priority });
    }
    assert_eq!(priority_of(&world, conn), Priority::Realtime);
    let [
        Event::PriorityChanged {
            from: Priority::High,
            to: Priority::Realtime,
            client,
        },
    ] = &world.events[lines..]
    else {
        panic!("{:?}", &world.events[lines..]);
    };
    assert_eq!(client.session, Some(session));
}

#[test]
fn a_session_that_is_gone_has_no_priority_to_change_and_no_life_to_end() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let session = session_of(&world, conn);
    world.close(conn);
    let lines = world.events.len();
    let closing_then_gone = 2;
    for _ in 0..closing_then_gone {
        let priority = Priority::Low;
        world.input(Input::SetPriority { session, priority });
        world.input(Input::Terminate { session });
        world.work_off();
    }
    assert_eq!(world.events.len(), lines);
}

#[test]
fn a_terminated_client_is_told_why_and_leaves_nothing() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let other = world.client(1001);
    world.allocate(conn, 1000, MemoryClass::Device);
    let session = session_of(&world, conn);
    // Not even a request in flight keeps it.
    world.ask(conn, register(1));
    world.input(Input::Terminate { session });
    assert!(!world.links.contains_key(&conn) && world.links.contains_key(&other));
    assert!(matches!(
        world.events.last(),
        Some(Event::ClientDisconnected {
            cause: Cause::Terminated,
            ..
        })
    ));
    assert_eq!(world.broker.connections(), 2, "the engine still has it");
    world.work_off();
    assert_eq!(world.broker.connections(), 1);
    assert_eq!(world.broker.memory_used(), MemoryBytes::default());
}

#[test]
fn closed_admission_turns_newcomers_away_and_leaves_everyone_else_alone() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    world.input(Input::SetAdmission(Admission::Closed));
    let newcomer = world.connect(1001);
    world.hello(newcomer);
    assert!(!world.links.contains_key(&newcomer));
    let text = refusal_of(&world, ErrorCode::Draining).expect("a refusal");
    assert!(
        text.contains("drained") && text.contains("resume"),
        "{text}"
    );
    assert!(matches!(
        world.asked(conn, register(1)),
        DaemonMessage::ProgramReady { .. }
    ));
    assert!(matches!(
        world.allocate(conn, 1000, MemoryClass::Shared),
        DaemonMessage::BufferReady { .. }
    ));
    world.input(Input::SetAdmission(Admission::Open));
    world.client(1001);
    let changes = world.events.iter().filter_map(|event| match event {
        Event::AdmissionChanged {
            admission,
            sessions,
        } => Some((*admission, *sessions)),
        _ => None,
    });
    let changes: Vec<_> = changes.collect();
    assert_eq!(changes, [(Admission::Closed, 1), (Admission::Open, 1)]);
}

#[test]
fn who_waits_for_an_engine_is_a_newcomer_when_admission_closes() {
    let mut world = World::new();
    let conn = world.connect(1000);
    world.hello(conn);
    world.input(Input::SetAdmission(Admission::Closed));
    assert!(!world.links.contains_key(&conn));
    assert_eq!(world.broker.connections(), 0);
}

#[test]
fn a_lower_maximum_lowers_users_but_neither_root_nor_what_an_administrator_sets_later() {
    let mut world = World::with_engine();
    let (user, root) = (world.client(1000), world.client(0));
    let medium = Config {
        max_priority: Priority::Medium,
        ..config()
    };
    world.input(Input::Configure(medium.clone()));
    assert_eq!(priority_of(&world, user), Priority::Medium);
    assert_eq!(priority_of(&world, root), Priority::Realtime);
    world.input(Input::SetPriority {
        session: session_of(&world, user),
        priority: Priority::Realtime,
    });
    world.input(Input::Configure(medium));
    assert_eq!(priority_of(&world, user), Priority::Realtime);
    let newcomer = world.client(1000);
    assert_eq!(priority_of(&world, newcomer), Priority::Medium);
    world.input(Input::Configure(Config {
        max_priority: Priority::Low,
        ..config()
    }));
    assert_eq!(priority_of(&world, user), Priority::Low);
}

#[test]
fn lower_limits_apply_to_newcomers_only() {
    let mut world = World::with_engine();
    let clients: Vec<ConnectionId> = (0..3).map(|_| world.client(1000)).collect();
    world.input(Input::Configure(Config {
        max_sessions: 4,
        max_sessions_per_uid: 2,
        ..config()
    }));
    let refused = world.connect(1000);
    world.hello(refused);
    assert_eq!(
        refusal_of(&world, ErrorCode::DaemonFull),
        Some("all 2 sessions of user 1000 are taken")
    );
    world.client(1001);
    let refused = world.connect(1002);
    world.hello(refused);
    assert_eq!(
        refusal_of(&world, ErrorCode::DaemonFull),
        Some("all 4 sessions are taken")
    );
    assert_eq!(last_limit(&world), Some(Limit::Clients));
    assert!(clients.iter().all(|conn| world.links.contains_key(conn)));
}

#[test]
fn no_configuration_goes_beyond_the_limits_of_the_protocol() {
    let boundless = Config {
        max_sessions: usize::MAX,
        max_sessions_per_uid: usize::MAX,
        ..config()
    };
    assert_eq!(boundless.sessions(), MAX_SESSIONS);
    assert_eq!(boundless.sessions_of(1000), MAX_SESSIONS_PER_UID);
}

#[test]
fn the_views_show_who_is_there_and_what_they_have() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let silent = world.connect(1001);
    world.asked(conn, register(1));
    world.allocate(conn, 1000, MemoryClass::Device);
    let broker = &world.broker;
    let [view] = broker.sessions().collect::<Vec<_>>()[..] else {
        panic!("one session is open");
    };
    assert_eq!((view.peer.uid, view.name), (1000, "test"));
    assert_eq!((view.buffers, view.programs), (1, 1));
    assert_eq!(
        (view.memory_used.device, view.memory_used.shared),
        (1024, 0)
    );
    // In all it is whole blocks.
    assert!(broker.memory_used().device > 1024 && broker.memory_used().shared == 0);
    assert_eq!(view.memory_limit.device, DEVICE_BYTES);
    assert_eq!(broker.connections(), 2);
    assert_eq!(broker.extensions(), ["VK_KHR_push_descriptor"]);
    assert_eq!(broker.warnings(), ["seccomp"]);
    let priorities = broker.global_priorities().iter();
    assert!(priorities.map(|one| one.name()).eq(["high", "medium"]));
    assert!(broker.device().is_some() && broker.engine_failure().is_none());
    world.close(silent);
    world.close(conn);
    assert_eq!(world.broker.sessions().count(), 0);
    assert_eq!(world.broker.connections(), 1, "the engine has not let go");
}

#[test]
fn a_limit_is_named_by_what_there_was_too_much_of() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let refused = world.allocate(conn, DEVICE_BYTES + 1, MemoryClass::Device);
    assert_eq!(code_of(&refused), Some(ErrorCode::OutOfDeviceMemory));
    assert_eq!(last_limit(&world), Some(Limit::Memory));
    // Too large a module is a bad request, not a limit that is reached by and by.
    let refused = world.asked(
        conn,
        ClientMessage::RegisterProgram {
            entry: "main".to_owned(),
            module_bytes: 1 << 40,
            specialization: Vec::new(),
        },
    );
    assert_eq!(code_of(&refused), Some(ErrorCode::LimitReached));
    assert_eq!(last_limit(&world), None);
}

#[test]
fn a_session_that_never_opened_is_a_connection_refused_to_the_log() {
    let mut world = World::with_engine();
    let conn = world.connect(1000);
    world.hello(conn);
    world.work(0, false);
    assert!(!world.links.contains_key(&conn));
    assert!(matches!(
        &world.events[..],
        [
            Event::EngineReady { .. },
            Event::ConnectionRefused {
                code: ErrorCode::System,
                ..
            }
        ]
    ));
}
