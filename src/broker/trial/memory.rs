//! Memory that goes and comes: what counts while it leaves, and who waits for it.

use super::world::{DEVICE_BYTES, Job, World, code_of};
use crate::*;
use vkmps_protocol::handle::{BufferId, ChunkId};

fn ready(message: &DaemonMessage) -> BufferId {
    match message {
        DaemonMessage::BufferReady { buffer, .. } => *buffer,
        other => panic!("{other:?}"),
    }
}

fn all_of_the_device() -> ClientMessage {
    ClientMessage::AllocateBuffer {
        bytes: DEVICE_BYTES,
        class: MemoryClass::Device,
    }
}

#[test]
fn memory_counts_until_the_engine_has_let_go_of_it() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let all = world.asked(conn, all_of_the_device());
    let buffer = ready(&all);
    let done = world.asked_at_once(conn, ClientMessage::FreeBuffer { buffer });
    assert_eq!(done, DaemonMessage::Done);
    assert_eq!(world.broker.memory_used().device, DEVICE_BYTES);
    // The same again waits for it, instead of taking it twice.
    world.ask(conn, all_of_the_device());
    assert_eq!(world.links[&conn].last, None);
    world.work_off();
    ready(world.links[&conn].last.as_ref().unwrap());
    assert_eq!(world.broker.memory_used().device, DEVICE_BYTES);
}

#[test]
fn a_newcomer_waits_for_the_memory_of_a_client_that_died() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1001));
    ready(&world.asked(one, all_of_the_device()));
    let refused = world.asked_at_once(two, all_of_the_device());
    assert_eq!(code_of(&refused), Some(ErrorCode::OutOfDeviceMemory));
    world.close(one);
    world.ask(two, all_of_the_device());
    assert_eq!(world.links[&two].last, None);
    world.work_off();
    ready(world.links[&two].last.as_ref().unwrap());
}

#[test]
fn nobody_waits_for_ever_for_memory_that_work_holds() {
    let mut world = World::with_engine();
    let conn = world.client(1000);
    let buffer = ready(&world.asked(conn, all_of_the_device()));
    world.asked_at_once(conn, ClientMessage::FreeBuffer { buffer });
    world.ask(conn, all_of_the_device());
    world.now = world.broker.next_deadline().expect("the request has one");
    world.input(Input::Tick);
    let refused = world.links[&conn].last.as_ref().and_then(code_of);
    assert_eq!(refused, Some(ErrorCode::OutOfDeviceMemory));
    assert_eq!(world.broker.next_deadline(), None);
    world.work_off();
    assert_eq!(world.broker.memory_used().device, 0);
    ready(&world.asked(conn, all_of_the_device()));
}

#[test]
fn a_refusal_says_nothing_of_what_others_have() {
    let refusal = |others: u64| {
        let mut world = World::with_engine();
        let (one, two) = (world.client(1000), world.client(1001));
        ready(&world.allocate(one, others, MemoryClass::Device));
        world.asked_at_once(two, all_of_the_device())
    };
    assert_eq!(refusal(1 << 20), refusal(500 << 20));
}

#[test]
fn one_user_cannot_take_all_pieces_of_memory() {
    let mut world = World::new();
    world.max_allocations = 128 + 8;
    world.start_engine();
    let bytes = DEVICE_BYTES / 1024;
    let pieces = |world: &mut World, uid: u32| {
        let taken = |world: &mut World| {
            let conn = world.client(uid);
            let answer = world.allocate(conn, bytes, MemoryClass::Shared);
            matches!(answer, DaemonMessage::BufferReady { .. })
        };
        (0..8).filter(|_| taken(world)).count()
    };
    assert_eq!(pieces(&mut world, 1000), 6);
    assert_eq!(pieces(&mut world, 1001), 2);
    // Not even root has more than the device.
    assert_eq!(pieces(&mut world, 0), 0);
}

#[test]
fn idle_pieces_make_way_where_the_device_has_no_more() {
    let mut world = World::new();
    world.max_allocations = 128 + 4;
    world.start_engine();
    for uid in [1000, 1001] {
        let conn = world.client(uid);
        for class in [MemoryClass::Shared, MemoryClass::Device] {
            let buffer = ready(&world.allocate(conn, 1, class));
            world.asked(conn, ClientMessage::FreeBuffer { buffer });
        }
    }
    assert_eq!(world.broker.budget.chunks.used, 4);
    let conn = world.client(1002);
    ready(&world.allocate(conn, 1, MemoryClass::Shared));
    assert_eq!(world.broker.budget.chunks.used, 1);
}

/// Offsets in blocks of what the engine was told of last.
fn placed(world: &World) -> (ChunkId, u64) {
    let last = world.told.iter().rev().find_map(|message| match message {
        ToEngine::AddBuffer { chunk, offset, .. } => Some((*chunk, *offset)),
        _ => None,
    });
    last.expect("a buffer")
}

#[test]
fn sessions_of_a_user_share_blocks_and_users_do_not() {
    let mut world = World::with_engine();
    for uid in [1000, 1001] {
        for _ in 0..10 {
            let conn = world.client(uid);
            ready(&world.allocate(conn, 1 << 20, MemoryClass::Device));
        }
    }
    assert_eq!(world.broker.budget.chunks.used, 2);
    assert_eq!(world.broker.blocks[&1000].bytes(), 16 << 20);
}

#[test]
fn a_clean_piece_at_hand_is_handed_out_without_the_engine() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1000));
    ready(&world.allocate(one, 1 << 20, MemoryClass::Device));
    let request = ClientMessage::AllocateBuffer {
        bytes: 1 << 20,
        class: MemoryClass::Device,
    };
    ready(&world.asked_at_once(two, request));
    assert!(world.jobs.is_empty());
}

#[test]
fn what_was_freed_serves_again_only_when_it_is_clean() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1000));
    let buffer = ready(&world.allocate(one, 16 << 20, MemoryClass::Device));
    let first = placed(&world);
    let free = ClientMessage::FreeBuffer { buffer };
    assert_eq!(world.asked_at_once(one, free), DaemonMessage::Done);
    assert_eq!(world.jobs, [Job::Scrub(first.0, first.1)]);
    // Neither its own session nor another one gets it now: both wait for new blocks, and one for it.
    for conn in [two, one] {
        let bytes = 16 << 20;
        let class = MemoryClass::Device;
        world.ask(conn, ClientMessage::AllocateBuffer { bytes, class });
    }
    assert_eq!(world.links[&two].last, None);
    assert_eq!(world.links[&one].last, None);
    world.work(0, true);
    let served = |conn| world.links[&conn].last.is_some();
    assert!(served(one) != served(two));
    assert_eq!(placed(&world), first);
    world.work_off();
    for conn in [one, two] {
        ready(world.links[&conn].last.as_ref().unwrap());
    }
}

#[test]
fn what_a_dead_session_had_is_cleaned_before_its_user_has_it_again() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1000));
    ready(&world.allocate(one, 16 << 20, MemoryClass::Device));
    let first = placed(&world);
    world.close(one);
    assert!(world.jobs.contains(&Job::Scrub(first.0, first.1)));
    world.ask(
        two,
        ClientMessage::AllocateBuffer {
            bytes: 16 << 20,
            class: MemoryClass::Device,
        },
    );
    assert_eq!(world.links[&two].last, None);
    world.work_off();
    ready(world.links[&two].last.as_ref().unwrap());
    assert_eq!(placed(&world), first);
}

#[test]
fn with_its_last_session_all_blocks_of_a_user_go() {
    let mut world = World::with_engine();
    let conns: Vec<ConnectionId> = (0..5).map(|_| world.client(1000)).collect();
    for &conn in &conns {
        for bytes in [1, 1 << 20, 40 << 20] {
            ready(&world.allocate(conn, bytes, MemoryClass::Device));
        }
    }
    for &conn in &conns {
        assert!(world.broker.memory_used().device > 0);
        world.close(conn);
    }
    world.work_off();
    assert_eq!(world.broker.memory_used(), MemoryBytes::default());
    assert!(world.broker.blocks.is_empty());
    assert_eq!(world.broker.budget.chunks.used, 0);
}
