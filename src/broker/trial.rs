//! The broker against a model of everything around it.

mod administration;
mod engine;
mod groups;
mod limits;
mod memory;
mod random;
mod shares;
mod sharing;
mod world;

use crate::*;
use vkmps_protocol::VERSION_MAJOR;
use vkmps_protocol::engine::FromEngine;
use world::{DEVICE_BYTES, Job, World, code_of, hello, register};

#[test]
fn a_client_gets_a_session_memory_and_a_program() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let first = world.allocate(conn, 1000, MemoryClass::Shared);
    let DaemonMessage::BufferReady {
        mapping: Some(mapping),
        with_arena: true,
        ..
    } = first
    else {
        panic!("{first:?}");
    };
    assert!(!mapping.reused && mapping.offset == 0);
    let second = world.allocate(conn, 1000, MemoryClass::Shared);
    let DaemonMessage::BufferReady {
        mapping: Some(next),
        with_arena: false,
        ..
    } = second
    else {
        panic!("{second:?}");
    };
    assert_eq!((next.chunk, next.offset), (mapping.chunk, 1024));
    let device = world.allocate(conn, 1000, MemoryClass::Device);
    assert!(matches!(
        device,
        DaemonMessage::BufferReady {
            mapping: None,
            with_arena: false,
            ..
        }
    ));
    let program = world.asked(conn, register(1));
    assert!(matches!(program, DaemonMessage::ProgramReady { .. }));
}

#[test]
fn a_user_gets_the_highest_priority_that_policy_grants_and_root_what_it_asks_for() {
    let mut world = World::with_engine();
    world.client(1000);
    world.client(0);
    let granted: Vec<Priority> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::ClientConnected { priority, .. } => Some(*priority),
            _ => None,
        })
        .collect();
    assert_eq!(granted, [Priority::High, Priority::Realtime]);
}

#[test]
fn an_impossible_allocation_is_refused_at_once_and_changes_nothing() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    for bytes in [u64::MAX, u64::MAX - 70_000, DEVICE_BYTES + 1, 0] {
        world.ask(
            conn,
            ClientMessage::AllocateBuffer {
                bytes,
                class: MemoryClass::Device,
            },
        );
        assert!(world.jobs.is_empty(), "the engine is not asked");
        let code = if bytes == 0 {
            ErrorCode::InvalidArgument
        } else {
            ErrorCode::OutOfDeviceMemory
        };
        assert_eq!(
            world.links[&conn].last.as_ref().and_then(code_of),
            Some(code)
        );
    }
    assert_eq!(world.broker.budget.device.used_bytes, 0);
    let all = world.allocate(conn, DEVICE_BYTES, MemoryClass::Device);
    assert!(matches!(all, DaemonMessage::BufferReady { .. }));
}

#[test]
fn idle_memory_of_one_session_makes_way_for_another() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1001));
    let DaemonMessage::BufferReady { buffer, .. } = world.allocate(one, 1, MemoryClass::Device)
    else {
        panic!();
    };
    assert_eq!(
        world.asked(one, ClientMessage::FreeBuffer { buffer }),
        DaemonMessage::Done
    );
    assert!(
        world.broker.budget.device.used_bytes > 0,
        "an idle chunk stays"
    );
    let all = world.allocate(two, DEVICE_BYTES, MemoryClass::Device);
    assert!(matches!(all, DaemonMessage::BufferReady { .. }));
}

#[test]
fn a_program_is_compiled_once_for_all() {
    let mut world = World::with_engine();
    let clients: Vec<ConnectionId> = (0..5).map(|n| world.client(1000 + n)).collect();
    for &conn in &clients {
        world.ask(conn, register(1));
    }
    while let Some(at) = world
        .jobs
        .iter()
        .position(|job| matches!(job, Job::Copy(..)))
    {
        world.work(at, true);
    }
    let compiles = world
        .jobs
        .iter()
        .filter(|job| matches!(job, Job::Compile(_)))
        .count();
    assert_eq!(compiles, 1);
    world.work_off();
    let ready = |conn: &ConnectionId| {
        matches!(
            world.links[conn].last,
            Some(DaemonMessage::ProgramReady { .. })
        )
    };
    assert!(clients.iter().all(ready));
}

#[test]
fn a_module_that_crashed_a_compiler_is_not_tried_again() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1001));
    world.ask(one, register(1));
    world.work(0, true);
    world.input(Input::CompileFailed {
        hash: ProgramHash([b'1'; 32]),
        failure: CompileFailure::Crashed,
    });
    world.jobs.clear();
    assert_eq!(
        world.links[&one].last.as_ref().and_then(code_of),
        Some(ErrorCode::CompileFailed)
    );
    world.ask(two, register(1));
    world.work(0, true);
    assert!(world.jobs.is_empty());
    assert_eq!(
        world.links[&two].last.as_ref().and_then(code_of),
        Some(ErrorCode::CompileFailed)
    );
}

#[test]
fn a_module_that_took_too_long_twice_is_not_tried_again() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1001));
    for conn in [one, two] {
        world.ask(conn, register(1));
        world.work(0, true);
        assert_eq!(
            world.jobs.pop_front(),
            Some(Job::Compile(ProgramHash([b'1'; 32])))
        );
        world.input(Input::CompileFailed {
            hash: ProgramHash([b'1'; 32]),
            failure: CompileFailure::TimedOut,
        });
        assert_eq!(
            world.links[&conn].last.as_ref().and_then(code_of),
            Some(ErrorCode::CompileTimeout)
        );
    }
    world.ask(one, register(1));
    world.work(0, true);
    assert!(world.jobs.is_empty());
    assert_eq!(
        world.links[&one].last.as_ref().and_then(code_of),
        Some(ErrorCode::CompileTimeout)
    );
}

#[test]
fn a_module_that_no_compiler_has_read_goes_to_the_next_one() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let unread = || Input::CompileFailed {
        hash: ProgramHash([b'1'; 32]),
        failure: CompileFailure::Unread {
            text: "killed".to_owned(),
        },
    };
    world.ask(conn, register(1));
    world.work(0, true);
    for _ in 0..3 {
        assert_eq!(
            world.jobs.pop_front(),
            Some(Job::Compile(ProgramHash([b'1'; 32])))
        );
        world.input(unread());
        assert_eq!(world.links[&conn].last, None, "nobody notices");
    }
    // A compiler that never works is not the module's fault either.
    world.jobs.clear();
    world.input(unread());
    assert_eq!(
        world.links[&conn].last.as_ref().and_then(code_of),
        Some(ErrorCode::System)
    );
    assert!(matches!(
        world.asked(conn, register(1)),
        DaemonMessage::ProgramReady { .. }
    ));
}

#[test]
fn a_new_engine_gets_the_compiled_programs_without_a_compiler() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    world.asked(conn, register(1));
    world.kill_engine(&[]);
    assert!(!world.links.contains_key(&conn), "the session ended");
    let early = world.connect(1000);
    world.hello(early);
    assert!(
        world.links[&early].awaiting,
        "newcomers wait for the new engine"
    );
    world.start_engine();
    assert!(!world.jobs.iter().any(|job| matches!(job, Job::Compile(_))));
    world.work_off();
    assert!(matches!(
        world.asked(early, register(1)),
        DaemonMessage::ProgramReady { .. }
    ));
}

#[test]
fn two_engines_dying_on_a_program_are_enough() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    world.asked(conn, register(1));
    let suspect = [ProgramHash([b'1'; 32])];
    for _ in 0..2 {
        world.kill_engine(&suspect);
        world.start_engine();
    }
    let conn = world.client(1000);
    assert_eq!(
        code_of(&world.asked(conn, register(1))),
        Some(ErrorCode::CompileFailed)
    );
}

#[test]
fn without_a_device_everyone_is_told_at_once() {
    let mut world = World::new();
    let waiting = world.connect(1000);
    world.hello(waiting);
    world.input(Input::Engine(FromEngine::StartFailed {
        text: "no device".to_owned(),
    }));
    let later = world.connect(1000);
    world.hello(later);
    assert!(world.links.is_empty());
    let refused = |event: &&Event| {
        matches!(
            event,
            Event::ConnectionRefused {
                code: ErrorCode::NoDevice,
                ..
            }
        )
    };
    assert_eq!(world.events.iter().filter(refused).count(), 2);
}

#[test]
fn the_wrong_version_and_a_late_hello_are_refused() {
    let mut world = World::with_engine();
    let conn = world.connect(1000);
    world.ask(conn, hello(VERSION_MAJOR + 1, Priority::Low));
    let silent = world.connect(1000);
    world.now += Duration::from_secs(10);
    world.input(Input::Tick);
    assert!(!world.links.contains_key(&conn) && !world.links.contains_key(&silent));
    let codes: Vec<ErrorCode> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::ConnectionRefused { code, .. } => Some(*code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [ErrorCode::VersionMismatch, ErrorCode::Timeout]);
}

#[test]
fn one_user_cannot_take_all_sessions() {
    use vkmps_protocol::limits::MAX_SESSIONS_PER_UID;
    let mut world = World::with_engine();
    for _ in 0..MAX_SESSIONS_PER_UID {
        world.client(1000);
    }
    let refused = world.connect(1000);
    world.hello(refused);
    assert!(!world.links.contains_key(&refused));
    for _ in MAX_SESSIONS_PER_UID..MAX_SESSIONS {
        world.client(1001);
    }
    let refused = world.connect(0);
    world.hello(refused);
    assert!(!world.links.contains_key(&refused));
}

#[test]
fn stopping_waits_for_the_engine_and_then_leaves() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    world.input(Input::Stop);
    let late = world.connect(1000);
    world.hello(late);
    assert!(!world.links.contains_key(&late) && world.links.contains_key(&conn));
    assert_eq!(
        code_of(&world.asked_at_once(conn, register(1))),
        Some(ErrorCode::Draining)
    );
    assert!(!world.exited);
    world.work_off();
    assert!(world.exited && world.links.is_empty());
}
