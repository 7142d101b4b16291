//! Submits travel through the ring whole, in order and without waiting for more than room.

use crate::fake::Fake;
use std::time::Duration;
use vkmps::{Access, Buffer, Client, Dispatch, ErrorCode, Memory, Program};
use vkmps_protocol::limits::RING_RECORDS;
use vkmps_protocol::ring::RecordKind;

const WORDS: u32 = 100;

fn setup(client: &Client) -> (Program, [Buffer; 3]) {
    let program = client
        .program(&[0; 20])
        .entry("main")
        .specialize(1, 2)
        .register()
        .unwrap();
    (
        program,
        std::array::from_fn(|_| client.alloc(u64::from(WORDS) * 4, Memory::Shared).unwrap()),
    )
}

fn add(program: &Program, [a, b, c]: &[Buffer; 3]) -> Dispatch {
    Dispatch::new(program, [2, 1, 1])
        .push(&WORDS.to_le_bytes())
        .read(a)
        .read(b)
        .write(c)
}

fn floats(value: f32) -> Vec<u8> {
    (0..WORDS)
        .flat_map(|index| (value * index as f32).to_le_bytes())
        .collect()
}

#[test]
fn a_dispatch_computes_and_a_read_waits_for_it() {
    let fake = Fake::start();
    let client = fake.client();
    let (program, buffers) = setup(&client);
    buffers[0].write(0, &floats(1.0)).unwrap();
    buffers[1].write(0, &floats(2.0)).unwrap();
    let first = client.submit(add(&program, &buffers)).unwrap();
    let mut out = vec![0; WORDS as usize * 4];
    buffers[2].read(0, &mut out).unwrap();
    assert_eq!(out, floats(3.0));
    assert_eq!(first.is_done(), Ok(true));
    assert_eq!(client.submit(add(&program, &buffers)).unwrap().value(), 2);
}

#[test]
fn a_wait_ends_with_its_time() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(16, Memory::Shared).unwrap();
    fake.hold(true);
    let fill = client
        .default_stream()
        .batch()
        .fill(&buffer, 1)
        .submit()
        .unwrap();
    assert_eq!(fill.is_done(), Ok(false));
    assert_eq!(
        fill.wait_timeout(Duration::from_millis(20))
            .unwrap_err()
            .code(),
        ErrorCode::Timeout
    );
    assert_eq!(
        fill.wait_timeout(Duration::ZERO).unwrap_err().code(),
        ErrorCode::Timeout
    );
    fake.hold(false);
    assert_eq!(fill.wait_timeout(Duration::MAX), Ok(()));
    assert_eq!(
        buffer.map().unwrap().u32s()[3].load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[test]
fn a_submit_larger_than_the_ring_arrives_in_pieces_and_whole() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(1 << 20, Memory::Shared).unwrap();
    let data: Vec<u8> = (0..251).cycle().take(1 << 20).collect();
    let stream = client.stream().unwrap();
    let submission = stream
        .batch()
        .update(&buffer, &data)
        .barrier()
        .submit()
        .unwrap();
    submission.wait().unwrap();
    let mut out = vec![0; 1 << 20];
    buffer.read(0, &mut out).unwrap();
    assert!(out == data);
    let kinds: Vec<u16> = fake
        .records()
        .iter()
        .map(|(_, record)| record.kind)
        .collect();
    let (last, chunks) = kinds.split_last().unwrap();
    assert!(
        chunks.len() >= 31
            && chunks
                .iter()
                .all(|kind| *kind == RecordKind::Chunk.number())
    );
    assert_eq!(*last, RecordKind::Last.number());
    let commands: Vec<u32> = fake
        .records()
        .iter()
        .map(|(_, record)| record.commands)
        .collect();
    assert_eq!((commands[0], commands.iter().sum::<u32>()), (17, 17));
}

#[test]
fn a_full_ring_makes_submits_wait_for_room() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(4, Memory::Shared).unwrap();
    fake.hold(true);
    let (client2, buffer2) = (client.clone(), buffer.clone());
    let submitter = std::thread::spawn(move || {
        let submit = |word| {
            client2
                .default_stream()
                .batch()
                .fill(&buffer2, word)
                .submit()
                .unwrap()
        };
        (0..3 * RING_RECORDS)
            .map(submit)
            .reduce(|_, last| last)
            .unwrap()
            .wait()
    });
    while client
        .default_stream()
        .submission(RING_RECORDS.into())
        .is_err()
    {
        std::thread::yield_now();
    }
    assert!(
        client
            .default_stream()
            .submission(u64::from(RING_RECORDS) + 1)
            .is_err()
    );
    fake.hold(false);
    submitter.join().unwrap().unwrap();
    assert_eq!(fake.records().len(), 3 * RING_RECORDS as usize);
    assert!(
        fake.records()
            .iter()
            .zip(1..)
            .all(|((_, record), value)| record.value == value)
    );
}

#[test]
fn threads_share_a_stream() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(8 * 4, Memory::Shared).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (client, word) = (client.clone(), buffer.slice(thread * 4, 4));
            scope.spawn(move || {
                for round in 1..=200 {
                    client
                        .default_stream()
                        .batch()
                        .fill(&word, round)
                        .submit()
                        .unwrap()
                        .wait()
                        .unwrap();
                }
            });
        }
    });
    assert!(
        buffer
            .map()
            .unwrap()
            .u32s()
            .iter()
            .all(|word| word.load(std::sync::atomic::Ordering::Relaxed) == 200)
    );
    assert_eq!(fake.records().len(), 1600);
}

#[test]
fn mistakes_are_typed_errors_and_submit_nothing() {
    let fake = Fake::start();
    let (client, other_fake) = (fake.client(), Fake::start());
    let (program, buffers) = setup(&client);
    let [a, b, c] = &buffers;
    let good = || Dispatch::new(&program, [2, 1, 1]).push(&WORDS.to_le_bytes());
    let code = |dispatch: Dispatch| client.submit(dispatch).unwrap_err().code();
    assert_eq!(code(good().read(a).read(b)), ErrorCode::BindingMismatch);
    assert_eq!(
        code(good().read(a).read(b).write(c).write(c)),
        ErrorCode::BindingMismatch
    );
    assert_eq!(
        code(good().read(a).read(b).read(c)),
        ErrorCode::BindingMismatch
    );
    assert_eq!(
        code(good().read(a).read(b).bind(0, 1, 0, c, Access::Write)),
        ErrorCode::BindingMismatch
    );
    assert_eq!(
        code(good().read(a).read(b).bind(1, 2, 0, c, Access::Write)),
        ErrorCode::BindingMismatch
    );
    assert_eq!(
        code(good().read(a).read(b).bind(0, 2, 1, c, Access::Write)),
        ErrorCode::BindingMismatch
    );
    assert_eq!(
        code(good().push(&[0; 8]).read(a).read(b).write(c)),
        ErrorCode::PushConstantMismatch
    );
    assert_eq!(
        code(good().read(a).read(b).write(c.slice(0, 401))),
        ErrorCode::OutOfRange
    );
    assert_eq!(
        code(good().read(a).read(b).write(c.slice(u64::MAX, 2))),
        ErrorCode::OutOfRange
    );
    assert_eq!(
        code(good().read(a).read(b).write(c.slice(4, 4))),
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        code(good().read(a).read(b).write(c.slice(0, 0))),
        ErrorCode::InvalidArgument
    );
    let huge = Dispatch::new(&program, [65_536, 1, 1])
        .push(&[0; 4])
        .read(a)
        .read(b)
        .write(c);
    assert_eq!(code(huge), ErrorCode::GroupCount);
    let stranger = other_fake.client().alloc(400, Memory::Shared).unwrap();
    assert_eq!(
        code(good().read(a).read(b).write(&stranger)),
        ErrorCode::InvalidHandle
    );
    let batch = || client.default_stream().batch();
    assert_eq!(
        batch().fill(a.slice(2, 4), 0).submit().unwrap_err().code(),
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        batch()
            .copy(a.slice(0, 8), b.slice(0, 4))
            .submit()
            .unwrap_err()
            .code(),
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        batch()
            .copy(a.slice(0, 8), a.slice(4, 8))
            .submit()
            .unwrap_err()
            .code(),
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        batch()
            .copy(a, b.slice(8, 400))
            .fill(a, 0)
            .submit()
            .unwrap_err()
            .code(),
        ErrorCode::OutOfRange
    );
    assert_eq!(
        client.program(b"junk").register().unwrap_err().code(),
        ErrorCode::InvalidModule
    );
    assert_eq!(
        client.program(b"odd").register().unwrap_err().code(),
        ErrorCode::InvalidModule
    );
    assert_eq!(
        client.default_stream().submission(1).unwrap_err().code(),
        ErrorCode::InvalidHandle
    );
    let nothing = Dispatch::new(&program, [0, 1, 1])
        .push(&[0; 4])
        .read(a)
        .read(b)
        .write(c);
    assert_eq!(client.submit(nothing).unwrap().wait(), Ok(()));
    assert_eq!(batch().submit().unwrap().wait(), Ok(()));
}

#[test]
fn streams_are_limited_and_come_back() {
    let fake = Fake::start();
    let client = fake.client();
    let streams: Vec<_> = (1..256).map(|_| client.stream().unwrap()).collect();
    assert_eq!(client.stream().unwrap_err().code(), ErrorCode::LimitReached);
    streams
        .iter()
        .for_each(|stream| stream.batch().submit().unwrap().wait().unwrap());
    drop(streams);
    let again = client.stream().unwrap().batch().submit().unwrap();
    assert_eq!(again.value(), 2);
    again.wait().unwrap();
}
