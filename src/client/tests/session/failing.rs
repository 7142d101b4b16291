//! Failures reach whom they concern, and nobody waits for what will not come.

use crate::engine::{BAD_CODE, BAD_WORD};
use crate::fake::Fake;
use std::time::{Duration, Instant};
use vkmps::{Buffer, Client, ErrorCode, Memory, Stream, Submission};
use vkmps_protocol::ring::RecordKind;

fn fill(stream: &Stream, buffer: &Buffer, word: u32) -> Submission {
    stream.batch().fill(buffer, word).submit().unwrap()
}

fn code(submission: &Submission) -> ErrorCode {
    submission.wait().unwrap_err().code()
}

fn setup(fake: &Fake) -> (Client, Stream, Buffer) {
    let client = fake.client();
    let stream = client.stream().unwrap();
    let buffer = client.alloc(16, Memory::Shared).unwrap();
    (client, stream, buffer)
}

#[test]
fn a_failure_poisons_its_stream_until_somebody_was_told() {
    let fake = Fake::start();
    let (client, stream, buffer) = setup(&fake);
    fake.hold(true);
    let good = fill(&stream, &buffer, 1);
    let bad = fill(&stream, &buffer, BAD_WORD);
    let behind = fill(&stream, &buffer, 2);
    fake.hold(false);
    let elsewhere = fill(client.default_stream(), &buffer, 3);
    assert_eq!((good.wait(), elsewhere.wait()), (Ok(()), Ok(())));
    assert_eq!(code(&behind), ErrorCode::StreamPoisoned);
    let after = fill(&stream, &buffer, 4);
    assert_eq!(after.wait(), Ok(()));
    // The handles keep their ends.
    assert_eq!(
        (code(&bad), code(&behind), good.wait()),
        (BAD_CODE, ErrorCode::StreamPoisoned, Ok(()))
    );
    assert_eq!(bad.is_done().unwrap_err().code(), BAD_CODE);
    assert_eq!(after.wait(), Ok(()));
    let acknowledged = fake
        .records()
        .iter()
        .filter(|(_, record)| record.kind == RecordKind::Acknowledge.number())
        .count();
    assert_eq!(acknowledged, 1);
    let again = fill(&stream, &buffer, BAD_WORD);
    assert_eq!(
        (code(&again), code(&bad), after.wait()),
        (BAD_CODE, BAD_CODE, Ok(()))
    );
    assert_eq!(fill(&stream, &buffer, 5).wait(), Ok(()));
}

#[test]
fn a_failure_is_acknowledged_once_however_many_wait() {
    let fake = Fake::start();
    let (_client, stream, buffer) = setup(&fake);
    for _ in 0..20 {
        fake.hold(true);
        let bad = fill(&stream, &buffer, BAD_WORD);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(code(&bad), BAD_CODE));
            }
            fake.hold(false);
        });
        assert_eq!(fill(&stream, &buffer, 1).wait(), Ok(()));
    }
    let acknowledged = fake
        .records()
        .iter()
        .filter(|(_, record)| record.kind == RecordKind::Acknowledge.number())
        .count();
    assert_eq!(acknowledged, 20);
}

#[test]
fn a_read_tells_of_a_failed_writer_once() {
    let fake = Fake::start();
    let (_client, stream, buffer) = setup(&fake);
    let bad = fill(&stream, &buffer, BAD_WORD);
    assert_eq!(buffer.read(0, &mut [0; 4]).unwrap_err().code(), BAD_CODE);
    assert_eq!(buffer.read(0, &mut [0; 4]), Ok(()));
    assert_eq!(code(&bad), BAD_CODE);
    assert_eq!(code(&fill(&stream, &buffer, BAD_WORD)), BAD_CODE);
    assert_eq!(buffer.read(0, &mut [0; 4]), Ok(()));
}

#[test]
fn a_stream_that_failed_is_healed_for_its_next_owner() {
    let fake = Fake::start();
    let (client, stream, buffer) = setup(&fake);
    let bad = fill(&stream, &buffer, BAD_WORD);
    fill(client.default_stream(), &buffer, 1).wait().unwrap();
    buffer.write(0, &[0; 4]).unwrap();
    drop(stream);
    assert_eq!(fill(&client.stream().unwrap(), &buffer, 1).wait(), Ok(()));
    assert_eq!(code(&bad), BAD_CODE);
}

#[test]
fn a_daemon_that_dies_ends_every_wait_at_once() {
    let fake = Fake::start();
    let (client, stream, buffer) = setup(&fake);
    fake.hold(true);
    let waiting = fill(&stream, &buffer, 1);
    let waiter = std::thread::spawn(move || (waiting.wait(), Instant::now()));
    std::thread::sleep(Duration::from_millis(30));
    fake.die();
    let died = Instant::now();
    let (result, ended) = waiter.join().unwrap();
    assert_eq!(result.unwrap_err().code(), ErrorCode::DaemonLost);
    assert!(ended.saturating_duration_since(died) < Duration::from_millis(200));
    assert_eq!(
        stream.batch().submit().unwrap_err().code(),
        ErrorCode::DaemonLost
    );
    assert_eq!(
        client.alloc(4, Memory::Shared).unwrap_err().code(),
        ErrorCode::DaemonLost
    );
    assert_eq!(
        buffer.write(0, &[1]).unwrap_err().code(),
        ErrorCode::DaemonLost
    );
    assert_eq!(
        client.program(&[0; 4]).register().unwrap_err().code(),
        ErrorCode::DaemonLost
    );
}

#[test]
fn a_request_to_a_daemon_that_died_is_an_error() {
    let fake = Fake::start();
    let client = fake.client();
    fake.die();
    let died = loop {
        if let Err(error) = client.alloc(4, Memory::Shared) {
            break error;
        }
    };
    assert_eq!(died.code(), ErrorCode::DaemonLost);
}

#[test]
fn a_submit_that_waits_for_room_notices_the_end() {
    let fake = Fake::start();
    let (_client, stream, buffer) = setup(&fake);
    fake.hold(true);
    let submitter = std::thread::spawn(move || {
        loop {
            if let Err(error) = stream.batch().fill(&buffer, 1).submit() {
                break error.code();
            }
        }
    });
    std::thread::sleep(Duration::from_millis(30));
    fake.die();
    assert_eq!(submitter.join().unwrap(), ErrorCode::DaemonLost);
}

#[test]
fn a_session_that_was_ended_says_why() {
    let fake = Fake::start();
    let (client, stream, buffer) = setup(&fake);
    fill(&stream, &buffer, 1).wait().unwrap();
    let done = stream.submission(1).unwrap();
    fake.hold(true);
    let waiting = fill(&stream, &buffer, 1);
    let waiter = std::thread::spawn({
        let waiting = waiting.clone();
        move || waiting.wait()
    });
    let region = fake.switches.region.lock().unwrap().clone().unwrap();
    region.end(ErrorCode::EngineLost);
    assert_eq!(
        waiter.join().unwrap().unwrap_err().code(),
        ErrorCode::EngineLost
    );
    assert_eq!(waiting.is_done().unwrap_err().code(), ErrorCode::EngineLost);
    assert_eq!(client.stream().unwrap_err().code(), ErrorCode::EngineLost);
    assert_eq!(
        buffer.read(0, &mut [0]).unwrap_err().code(),
        ErrorCode::EngineLost
    );
    assert_eq!(done.wait(), Ok(()));
}
