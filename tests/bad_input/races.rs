//! Rings that change while they are read.

use crate::commands::commands;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vkmps_protocol::command::Encoder;
use vkmps_protocol::limits::{MAX_STREAMS, RING_RECORDS};
use vkmps_protocol::ring::{Record, RecordKind, record_offset, session, stream, stream_offset};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::Session;
use vkmps_tests::witness::Witness;

#[test]
fn words_that_belong_to_the_engine_may_be_scribbled_over() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    for value in [0, 1, 0x7fff_ffff, u32::MAX] {
        let session = Session::open(&daemon, "scribbler");
        let mut lane = session.lane(0);
        lane.run(&commands(Encoder::barrier)).unwrap();
        let region = session.region();
        let offsets = [
            session::NEED_DOORBELL,
            session::SPIN_NS,
            session::ACTIVITY,
            session::ACTIVITY_WAITERS,
        ];
        offsets
            .iter()
            .for_each(|offset| region.u32(*offset).store(value, Ordering::Relaxed));
        let base = stream_offset(0);
        let offsets = [
            stream::RETIRED,
            stream::PAYLOAD_RETIRED,
            stream::ERROR,
            stream::SEQUENCE,
            stream::WAITERS,
        ];
        offsets
            .iter()
            .for_each(|offset| region.u32(base + offset).store(value, Ordering::Relaxed));
        region
            .u64(base + stream::COMPLETED)
            .store(u64::from(value) << 16, Ordering::Relaxed);
        region
            .u64(base + stream::FAILED_AT)
            .store(u64::from(value), Ordering::Relaxed);
        // All streams are said to have news, most have none.
        (0..MAX_STREAMS).for_each(|index| session.kick(index));
        (0..1000).for_each(|_| session.kick(200));
    }
    witness.goes_on();
}

#[test]
fn a_record_that_changes_while_it_is_read_harms_nobody_else() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    for round in 0..20_u32 {
        let session = Session::open(&daemon, "flipper");
        let buffer = session.buffer(1024);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| flip(&session, round, &stop));
            let mut lane = session.lane(0);
            let until = Instant::now() + Duration::from_millis(50);
            while Instant::now() < until && !lane.is_over() {
                lane.submit(&commands(|encoder| encoder.fill(buffer, 0, 1024, 5)));
                if lane.failed() {
                    lane.acknowledge();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        witness.goes_on();
    }
}

#[test]
fn a_client_that_never_stops_feeding_records_starves_nobody() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let alone = rounds_in(&witness, Duration::from_secs(1));
    let session = Session::open(&daemon, "feeder");
    let stop = AtomicBool::new(false);
    let empty_piece = Record {
        kind: RecordKind::Chunk.number(),
        commands: 1,
        value: 1,
        ..Record::default()
    };
    for slot in 0..RING_RECORDS {
        session.write_record(0, slot, &empty_piece);
    }
    let fed = std::thread::scope(|scope| {
        scope.spawn(|| feed(&session, &stop));
        witness.goes_on();
        let fed = rounds_in(&witness, Duration::from_secs(2)) / 2;
        stop.store(true, Ordering::Relaxed);
        fed
    });
    // The engine may also have ended the session: then there was nothing to be starved by.
    assert!(
        fed * 10 > alone,
        "the witness did {fed} rounds a second beside a client that feeds the engine empty pieces, {alone} without"
    );
    witness.goes_on();
}

/// Right results of the witness in a span of time, which is what is measured here.
fn rounds_in(witness: &Witness, span: Duration) -> u32 {
    let before = witness.rounds();
    std::thread::sleep(span);
    witness.rounds() - before
}

/// Says again and again that the whole ring is full of new records. Pieces without content are free as soon as they are
/// read, so it never runs dry.
fn feed(session: &Session, stop: &AtomicBool) {
    let base = stream_offset(0);
    let tail = session.region().u32(base + stream::TAIL);
    let retired = session.region().u32(base + stream::RETIRED);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..100 {
            let full = retired.load(Ordering::Acquire).wrapping_add(RING_RECORDS);
            tail.store(full, Ordering::Release);
        }
        session.kick(0);
    }
}

/// Writes other values over fields of all records and over their payloads, and the old ones back, as fast as it can.
fn flip(session: &Session, round: u32, stop: &AtomicBool) {
    let base = stream_offset(0);
    let region = session.region();
    // Words of a record: kind and flags, commands, value, payload offset and length, reserved.
    let word = [0, 4, 8, 16, 20, 24][round as usize % 6];
    while !stop.load(Ordering::Relaxed) {
        for slot in 0..RING_RECORDS {
            let field = region.u32(base + record_offset(slot) + word);
            let before = field.load(Ordering::Relaxed);
            field.store(before ^ (1 << (round % 32)), Ordering::Relaxed);
            field.store(before, Ordering::Relaxed);
            // Opcode and length of the commands.
            let header = region.u64(base + stream::PAYLOAD + slot as usize * 48);
            let before = header.load(Ordering::Relaxed);
            header.store(before ^ (1 << (round % 64)), Ordering::Relaxed);
            header.store(before, Ordering::Relaxed);
        }
    }
}
