//! Buffers: mapped or staged, cleared, and given back in time.

use crate::fake::Fake;
use std::sync::atomic::Ordering::SeqCst;
use vkmps::{ErrorCode, Memory};
use vkmps_protocol::message::ClientMessage;

fn frees(fake: &Fake) -> usize {
    fake.requests()
        .iter()
        .filter(|request| matches!(request, ClientMessage::FreeBuffer { .. }))
        .count()
}

#[test]
fn device_memory_is_read_and_written_through_staging() {
    let fake = Fake::start();
    let client = fake.client();
    let bytes = (9 << 20) + 5;
    let buffer = client.alloc(bytes as u64 + 100, Memory::Device).unwrap();
    assert!(!buffer.is_mapped());
    assert_eq!(buffer.map().unwrap_err().code(), ErrorCode::Unsupported);
    let data: Vec<u8> = (0..253).cycle().take(bytes).collect();
    buffer.write(33, &data).unwrap();
    let mut out = vec![0; bytes];
    buffer.read(33, &mut out).unwrap();
    assert!(out == data);
    assert_eq!(
        buffer.write(200, &data).unwrap_err().code(),
        ErrorCode::OutOfRange
    );
}

#[test]
fn memory_that_was_used_before_is_cleared_unless_it_need_not_be() {
    let fake = Fake::start();
    let client = fake.client();
    fake.switches.dirty.store(true, SeqCst);
    for memory in [Memory::Shared, Memory::Device] {
        let mut out = [1; 11];
        client.alloc(11, memory).unwrap().read(0, &mut out).unwrap();
        assert_eq!(out, [0; 11], "{memory:?}");
        client
            .alloc_unscrubbed(11, memory)
            .unwrap()
            .read(0, &mut out)
            .unwrap();
        assert_eq!(out, [0x55; 11], "{memory:?}");
    }
}

#[test]
fn an_idle_buffer_is_freed_at_once_and_one_in_use_later() {
    let fake = Fake::start();
    let client = fake.client();
    let (idle, used) = (
        client.alloc(64, Memory::Shared).unwrap(),
        client.alloc(64, Memory::Shared).unwrap(),
    );
    drop(idle);
    assert_eq!(frees(&fake), 1);
    fake.hold(true);
    let submission = client
        .default_stream()
        .batch()
        .fill(&used, 1)
        .submit()
        .unwrap();
    drop(used);
    let other = client.alloc(64, Memory::Shared).unwrap();
    assert_eq!(frees(&fake), 1);
    fake.hold(false);
    submission.wait().unwrap();
    assert_eq!(frees(&fake), 2);
    drop(other);
    assert_eq!(frees(&fake), 3);
}

#[test]
fn out_of_memory_is_an_error_that_changes_nothing() {
    let fake = Fake::start();
    let client = fake.client();
    assert_eq!(
        client.alloc(1 << 40, Memory::Shared).unwrap_err().code(),
        ErrorCode::OutOfDeviceMemory
    );
    assert_eq!(
        client.alloc(0, Memory::Shared).unwrap_err().code(),
        ErrorCode::InvalidArgument
    );
    client
        .alloc(4096, Memory::Shared)
        .unwrap()
        .write(4095, &[1])
        .unwrap();
}

#[test]
fn a_mapping_is_the_buffer_and_keeps_it() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(10, Memory::Shared).unwrap();
    let mapping = buffer.map().unwrap();
    assert_eq!(
        (
            mapping.len(),
            mapping.u32s().len(),
            mapping.as_ptr().addr() % 256
        ),
        (10, 2, 0)
    );
    mapping.write(8, &[7, 8]).unwrap();
    assert_eq!(
        mapping.write(9, &[7, 8]).unwrap_err().code(),
        ErrorCode::OutOfRange
    );
    let mut out = [0; 2];
    buffer.read(8, &mut out).unwrap();
    assert_eq!(out, [7, 8]);
    drop(buffer);
    assert_eq!(frees(&fake), 0);
    drop(mapping);
    assert_eq!(frees(&fake), 1);
}
