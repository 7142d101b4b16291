//! What a client does to its own shared memory is its own affair.

use nix::fcntl::{FallocateFlags, fallocate};
use std::os::fd::OwnedFd;
use vkmps::{Dispatch, Mapping, Memory};
use vkmps_ipc::memory::Region;
use vkmps_protocol::command::{Encoder, binding};
use vkmps_protocol::handle::BufferId;
use vkmps_protocol::message::{ClientMessage, DaemonMessage, MemoryClass};
use vkmps_protocol::program::Access;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::{Reply, Session};
use vkmps_tests::kernels::{affine, buffer_of, module, read_words};
use vkmps_tests::patience::eventually;
use vkmps_tests::witness::Witness;

#[test]
fn an_arena_cannot_be_cut_nor_grown_and_holes_in_it_hurt_its_owner_only() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let engine = daemon.engine();
    let session = Session::open(&daemon, "holes");
    let (buffer, arena) = first_buffer(&session, BYTES);
    let (busy, _) = session.register(&module("fma_loop"), "main").unwrap();
    assert!(nix::unistd::ftruncate(&arena, 0).is_err());
    assert!(nix::unistd::ftruncate(&arena, 1 << 50).is_err());
    let mut lane = session.lane(0);
    let mut last = 0;
    for round in 0..20_u8 {
        let mut work = Encoder::default();
        let data = [binding(0, buffer, 0, BYTES, Access::ReadWrite)];
        let groups = [u32::try_from(BYTES / 1024).unwrap(), 1, 1];
        let encoded = work.dispatch(busy, groups, [0; 3], &500_u32.to_le_bytes(), &data);
        encoded.expect("it is short");
        last = lane.submit(&work);
        // Under the device's hands: pages vanish, bytes change, mappings come and go.
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&arena, punch, 0, i64::try_from(BYTES).unwrap()).unwrap();
        let mapped = Region::map(&arena, 0, usize::try_from(BYTES).unwrap()).unwrap();
        mapped.write(0, &[round; 4096]);
    }
    assert_eq!(lane.outcome(last), Ok(()));
    witness.goes_on();
    assert_eq!(
        daemon.engines(),
        [engine],
        "the engine lived through all of it"
    );
}

#[test]
fn a_client_that_keeps_its_arena_beyond_its_end_keeps_no_page_of_it() {
    let daemon = Daemon::start();
    let session = Session::open(&daemon, "keeper");
    let (_, arena) = first_buffer(&session, BYTES);
    let kept = Region::map(&arena, 0, usize::try_from(BYTES).unwrap()).unwrap();
    kept.write(0, &vec![7; kept.len()]);
    drop(session);
    // Pages that the daemon's processes have touched would count as theirs.
    eventually("the pages are given back", || {
        nix::sys::stat::fstat(&arena).unwrap().st_blocks == 0
    });
    let mut bytes = vec![1; kept.len()];
    kept.read(0, &mut bytes);
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn an_arena_holds_nothing_of_another_client() {
    let daemon = Daemon::start();
    let secret = 0x5ec2_e75a;
    let owner = daemon.connect();
    let held: Vec<_> = (0..8)
        .map(|_| buffer_of(&owner, Memory::Shared, &[secret; 4096]))
        .collect();
    drop(buffer_of(&owner, Memory::Shared, &[secret; 4096]));
    let session = Session::open(&daemon, "reader");
    let (_, arena) = first_buffer(&session, BYTES);
    // All of it that has pages, allocated or not.
    let size = u64::try_from(nix::sys::stat::fstat(&arena).unwrap().st_size).unwrap();
    let mut at = 0;
    while let Some(data) = vkmps_ipc::memory::next_data(&arena, at, size).unwrap() {
        let length = usize::try_from(data.end - data.start).unwrap();
        let mut bytes = vec![0; length];
        let start = i64::try_from(data.start).unwrap();
        nix::sys::uio::pread(&arena, &mut bytes, start).unwrap();
        let found = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .any(|word| u32::from_le_bytes(*word) == secret);
        assert!(!found, "at {}", data.start);
        at = data.end;
    }
    drop(held);
}

#[test]
fn a_kernel_that_goes_beyond_its_buffer_reaches_not_even_the_next_one_of_its_client() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let words = |value: u32| vec![value; 1024];
    let buffers: Vec<_> = (1..=3)
        .map(|value| buffer_of(&client, Memory::Shared, &words(value)))
        .collect();
    let neighbours: Vec<Mapping> = buffers.iter().map(|b| b.map().unwrap()).collect();
    assert_eq!(
        neighbours[2].as_ptr().addr() - neighbours[1].as_ptr().addr(),
        4096,
        "they lie side by side"
    );
    let program = affine(&client, 2, 5);
    // For all it is told, the buffer has four times as many elements.
    let beyond = Dispatch::new(&program, [64, 1, 1])
        .push(&4096_u32.to_le_bytes())
        .read_write(&buffers[1]);
    client.submit(beyond).unwrap().wait().unwrap();
    assert_eq!(read_words(&buffers[0]), words(1));
    assert_eq!(read_words(&buffers[1]), words(9));
    assert_eq!(read_words(&buffers[2]), words(3));
}

/// The first buffer of a session, with the arena that comes along.
fn first_buffer(session: &Session, bytes: u64) -> (BufferId, OwnedFd) {
    let class = MemoryClass::Shared;
    let request = ClientMessage::AllocateBuffer { bytes, class };
    session.connection().say(&request, &[]);
    match session.connection().receive() {
        Reply::Message(DaemonMessage::BufferReady { buffer, .. }, mut files) => {
            (buffer, files.remove(0))
        }
        other => panic!("{other:?}"),
    }
}

const BYTES: u64 = 256 << 10;
