//! Buffers: their contents, their sharing, their end.

use std::sync::atomic::Ordering;
use vkmps::{ErrorCode, Memory};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::{LONG, affine, affine_over, buffer_of, busy, program, read_words};

#[test]
fn memory_of_both_classes_is_zeroed_written_and_read_at_any_offset() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    for memory in [Memory::Shared, Memory::Device] {
        for bytes in [1_usize, 3, 255, 256, 4097, 5 << 20] {
            let buffer = client.alloc(bytes as u64, memory).unwrap();
            let mut found = vec![1; bytes];
            buffer.read(0, &mut found).unwrap();
            assert!(
                found.iter().all(|byte| *byte == 0),
                "{bytes} fresh bytes of {memory:?}"
            );
            let data: Vec<u8> = (0..bytes)
                .map(|at| (at % 251).to_le_bytes()[0] | 1)
                .collect();
            buffer.write(0, &data).unwrap();
            let from = bytes / 3;
            let mut part = vec![0; bytes - from];
            buffer.read(from as u64, &mut part).unwrap();
            assert!(
                part == data[from..],
                "{bytes} bytes of {memory:?} from {from}"
            );
            buffer.write(bytes as u64, &[]).unwrap();
            assert_eq!(
                buffer.write(bytes as u64, &[1]).unwrap_err().code(),
                ErrorCode::OutOfRange
            );
            assert_eq!(
                buffer.read(u64::MAX, &mut [0; 2]).unwrap_err().code(),
                ErrorCode::OutOfRange
            );
        }
    }
}

#[test]
fn a_buffer_in_the_place_of_a_freed_one_is_zero_again() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    for _ in 0..20 {
        let buffer = client.alloc(1 << 16, Memory::Shared).unwrap();
        let mut found = vec![1; 1 << 16];
        buffer.read(0, &mut found).unwrap();
        assert!(found.iter().all(|byte| *byte == 0));
        buffer.write(0, &vec![0xaa; 1 << 16]).unwrap();
    }
}

#[test]
fn nothing_that_one_client_wrote_reaches_another() {
    let daemon = Daemon::start();
    for round in 0..4 {
        let client = daemon.connect();
        let buffers: Vec<_> = (0..4)
            .map(|_| client.alloc(8 << 20, Memory::Shared).unwrap())
            .collect();
        for buffer in &buffers {
            let mapping = buffer.map().unwrap();
            assert!(
                mapping
                    .u32s()
                    .iter()
                    .all(|word| word.load(Ordering::Relaxed) == 0),
                "round {round}"
            );
            buffer.write(0, &vec![0x5a; 8 << 20]).unwrap();
        }
    }
}

#[test]
fn a_mapping_shows_what_the_device_wrote_and_the_device_what_was_mapped() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let step = affine(&client, 2, 1);
    let buffer = client.alloc(4096, Memory::Shared).unwrap();
    assert!(buffer.is_mapped());
    let mapping = buffer.map().unwrap();
    assert_eq!((mapping.len(), mapping.as_ptr() as usize % 256), (4096, 0));
    mapping
        .u32s()
        .iter()
        .zip(0..)
        .for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    client
        .submit(affine_over(&step, &buffer))
        .unwrap()
        .wait()
        .unwrap();
    for (word, value) in mapping.u32s().iter().zip(0..) {
        assert_eq!(word.load(Ordering::Relaxed), 2 * value + 1);
    }
    mapping.write(4092, &[1, 2, 3, 4]).unwrap();
    let mut end = [0; 4];
    buffer.read(4092, &mut end).unwrap();
    assert_eq!(end, [1, 2, 3, 4]);
    assert_eq!(
        mapping.write(4093, &[0; 4]).unwrap_err().code(),
        ErrorCode::OutOfRange
    );
    drop(buffer);
    assert_eq!(
        mapping.u32s()[1].load(Ordering::Relaxed),
        3,
        "the mapping keeps the memory alive"
    );
}

#[test]
fn a_client_that_frees_while_its_work_runs_gets_right_results() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let slow = program(&client, "fma_loop");
    let out = buffer_of(&client, Memory::Shared, &[0; 64]);
    for value in 0..20 {
        let source = buffer_of(&client, Memory::Shared, &[value; 64]);
        let hold = client.alloc(LONG / 16, Memory::Shared).unwrap();
        let _busy = client.submit(busy(&slow, &hold)).unwrap();
        let _copy = client
            .default_stream()
            .batch()
            .copy(&source, &out)
            .submit()
            .unwrap();
        drop((source, hold));
        // Takes the place of what was freed, if that was freed too early.
        let _next = buffer_of(&client, Memory::Shared, &[1000; 64]);
        assert_eq!(read_words(&out), vec![value; 64]);
    }
}
