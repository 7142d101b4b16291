//! Handles and sizes.

use crate::commands::commands;
use std::time::{Duration, Instant};
use vkmps::{ErrorCode, Memory};
use vkmps_protocol::handle::{BufferId, pack};
use vkmps_protocol::message::{ClientMessage, DaemonMessage, MemoryClass};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::Session;
use vkmps_tests::kernels::module;
use vkmps_tests::patience::eventually;
use vkmps_tests::witness::Witness;

#[test]
fn absurd_allocations_fail_at_once_and_change_nothing() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "greedy");
    let total = daemon.connect().device().device_memory_bytes;
    for class in [MemoryClass::Shared, MemoryClass::Device] {
        assert_eq!(
            session.refused(&ClientMessage::AllocateBuffer { bytes: 0, class }, &[]),
            ErrorCode::InvalidArgument
        );
        for bytes in [
            u64::MAX,
            u64::MAX - 255,
            1 << 63,
            1 << 50,
            1 << 41,
            total.saturating_mul(4) + 1,
        ] {
            let begun = Instant::now();
            let code = session.refused(&ClientMessage::AllocateBuffer { bytes, class }, &[]);
            assert!(
                matches!(
                    code,
                    ErrorCode::OutOfDeviceMemory
                        | ErrorCode::OutOfHostMemory
                        | ErrorCode::LimitReached
                ),
                "{bytes} bytes of {class:?}: {code:?}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "{bytes} bytes took {:?}",
                begun.elapsed()
            );
        }
    }
    daemon
        .log()
        .line(&["allocation refused", &format!("client={} ", session.id)]);
    session.buffer(64);
    witness.goes_on();
}

#[test]
fn device_memory_that_is_used_up_is_refused_and_can_be_had_again() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let client = daemon.connect();
    let piece = client.device().device_memory_bytes / 8;
    let mut buffers = Vec::new();
    let error = loop {
        assert!(buffers.len() < 100, "memory without end");
        match client.alloc_unscrubbed(piece, Memory::Device) {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::OutOfDeviceMemory, "{error}");
    assert!(!buffers.is_empty());
    witness.goes_on();
    buffers.pop();
    buffers.push(client.alloc_unscrubbed(piece, Memory::Device).unwrap());
    drop((buffers, client));
    let next = daemon.connect();
    eventually("the memory of a client that left can be had again", || {
        next.alloc_unscrubbed(piece * 2, Memory::Device).is_ok()
    });
    witness.goes_on();
}

#[test]
fn handles_of_another_session_and_freed_ones_lead_nowhere() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let (owner, thief) = (
        Session::open(&daemon, "owner"),
        Session::open(&daemon, "thief"),
    );
    let owned: Vec<BufferId> = (0..4).map(|_| owner.buffer(1024)).collect();
    let (program, _) = owner.register(&module("affine"), "main").unwrap();
    let last = *owned.last().unwrap();
    assert_eq!(
        thief.refused(&ClientMessage::FreeBuffer { buffer: last }, &[]),
        ErrorCode::InvalidHandle
    );
    assert_eq!(
        thief.refused(&ClientMessage::ReleaseProgram { program }, &[]),
        ErrorCode::InvalidHandle
    );
    let mut lane = thief.lane(0);
    let fill = |buffer: BufferId| commands(|encoder| encoder.fill(buffer, 0, 1024, 7));
    assert_eq!(lane.run(&fill(last)), Err(ErrorCode::InvalidHandle));
    lane.acknowledge();
    let dispatch = commands(|encoder| {
        encoder
            .dispatch(program, [1, 1, 1], [0; 3], &[0; 4], &[])
            .unwrap();
    });
    assert_eq!(lane.run(&dispatch), Err(ErrorCode::InvalidHandle));
    lane.acknowledge();
    // The thief's own handles have the same numbers and lead to its own memory.
    let own: Vec<BufferId> = (0..4).map(|_| thief.buffer(1024)).collect();
    assert_eq!(own, owned);
    assert_eq!(lane.run(&fill(last)), Ok(()));
    assert_eq!(
        thief.ask(&ClientMessage::FreeBuffer { buffer: last }, &[]),
        DaemonMessage::Done
    );
    assert_eq!(
        thief.refused(&ClientMessage::FreeBuffer { buffer: last }, &[]),
        ErrorCode::InvalidHandle
    );
    assert_eq!(
        lane.run(&fill(last)),
        Err(ErrorCode::InvalidHandle),
        "a freed handle"
    );
    lane.acknowledge();
    let successor = thief.buffer(1024);
    assert_ne!(successor, last);
    assert_eq!(
        lane.run(&fill(last)),
        Err(ErrorCode::InvalidHandle),
        "a freed handle whose place is taken"
    );
    lane.acknowledge();
    assert_eq!(
        owner.lane(0).run(&fill(last)),
        Ok(()),
        "the owner's handle still works"
    );
    for handle in [0, 1, u64::MAX, pack(u32::MAX, 1), pack(0, u32::MAX)] {
        assert_eq!(
            thief.refused(
                &ClientMessage::FreeBuffer {
                    buffer: BufferId(handle)
                },
                &[]
            ),
            ErrorCode::InvalidHandle
        );
        assert_eq!(
            lane.run(&fill(BufferId(handle))),
            Err(ErrorCode::InvalidHandle)
        );
        lane.acknowledge();
    }
    daemon.log().line(&[
        "submit refused",
        &format!("client={} ", thief.id),
        "InvalidHandle",
    ]);
    witness.goes_on();
}
