//! Ring indices, records and payloads that cannot be.

use crate::commands::commands;
use vkmps::ErrorCode;
use vkmps_protocol::command::{Encoder, binding};
use vkmps_protocol::handle::{BufferId, ProgramId};
use vkmps_protocol::limits::{MAX_SUBMIT_BYTES, RING_PAYLOAD_BYTES, RING_RECORDS};
use vkmps_protocol::program::Access;
use vkmps_protocol::ring::{Record, RecordKind};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::Session;
use vkmps_tests::patience::eventually;
use vkmps_tests::witness::Witness;

#[test]
fn ring_indices_that_cannot_be_end_the_session() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    for tail in [RING_RECORDS + 1, RING_RECORDS * 2, u32::MAX / 2, u32::MAX] {
        let session = Session::open(&daemon, "tail");
        session.set_tail(0, tail);
        expect_violation(&daemon, &session, &format!("tail {tail}"));
    }
    let session = Session::open(&daemon, "backwards");
    let mut lane = session.lane(255);
    for _ in 0..3 {
        lane.run(&commands(Encoder::barrier)).unwrap();
    }
    session.set_tail(255, 1);
    expect_violation(&daemon, &session, "a tail that went back");
    witness.goes_on();
}

#[test]
fn records_that_cannot_be_end_the_session() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let good = commands(Encoder::barrier);
    let submit = |change: &dyn Fn(&mut Record)| {
        let mut record = Record {
            kind: RecordKind::Submit.number(),
            commands: 1,
            value: 1,
            payload_bytes: 16,
            ..Record::default()
        };
        change(&mut record);
        record
    };
    let mut cases: Vec<Record> = [0, 5, 100, u16::MAX]
        .map(|kind| submit(&|record| record.kind = kind))
        .into();
    cases.extend([2, 0x8000, u16::MAX].map(|flags| submit(&|record| record.flags = flags)));
    cases.extend([0, 2, 1 << 32, u64::MAX].map(|value| submit(&|record| record.value = value)));
    cases.extend(
        [8, 1, u32::MAX, RING_PAYLOAD_BYTES]
            .map(|offset| submit(&|record| record.payload_offset = offset)),
    );
    let lengths = [1, 7, 12, RING_PAYLOAD_BYTES + 8, u32::MAX, u32::MAX - 7];
    cases.extend(lengths.map(|bytes| submit(&|record| record.payload_bytes = bytes)));
    cases.extend((0..5).map(|word| submit(&|record| record.reserved[word] = 1)));
    cases
        .extend([2, 65_537, u32::MAX].map(|commands| submit(&|record| record.commands = commands)));
    for record in cases {
        let session = Session::open(&daemon, "record");
        session.write_payload(0, 0, good.bytes());
        session.write_record(0, 0, &record);
        session.set_tail(0, 1);
        expect_violation(&daemon, &session, &format!("{record:?}"));
    }
    witness.goes_on();
}

#[test]
fn records_out_of_order_end_the_session() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let barrier = commands(Encoder::barrier);
    let record = |kind: RecordKind, value| Record {
        kind: kind.number(),
        commands: 1,
        value,
        ..Record::default()
    };
    use RecordKind::{Chunk, Last, Submit};
    let sequences: [&[Record]; 5] = [
        &[record(Submit, 1), record(Submit, 1)],
        &[record(Submit, 1), record(Submit, 3)],
        &[record(Chunk, 1), record(Submit, 1)],
        &[record(Chunk, 1), record(Chunk, 2)],
        &[record(Submit, 1), record(Chunk, 2), record(Last, 3)],
    ];
    for sequence in sequences {
        let session = Session::open(&daemon, "order");
        let mut lane = session.lane(7);
        for record in sequence {
            lane.push(*record, barrier.bytes());
        }
        expect_violation(&daemon, &session, &format!("{sequence:?}"));
    }
    let session = Session::open(&daemon, "endless");
    let mut lane = session.lane(0);
    let piece = vec![0; RING_PAYLOAD_BYTES as usize / 2];
    for _ in 0..=MAX_SUBMIT_BYTES / piece.len() {
        lane.push(record(Chunk, 1), &piece);
    }
    expect_violation(&daemon, &session, "a submit without end");
    witness.goes_on();
}

#[test]
fn payloads_that_are_no_commands_end_the_session() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let barrier = commands(Encoder::barrier);
    let fill = commands(|encoder| encoder.fill(BufferId(1), 0, 4, 0));
    let update = commands(|encoder| {
        encoder
            .update(BufferId(1), 0, &[0; 8])
            .expect("it is short")
    });
    let dispatch = commands(|encoder| {
        let bindings = [binding(0, BufferId(1), 0, 4, Access::Read)];
        encoder
            .dispatch(ProgramId(1), [1; 3], [0; 3], &[0; 4], &bindings)
            .expect("it is short");
    });
    let changed = |encoder: &Encoder, at: usize, value: u8| {
        let mut bytes = encoder.bytes().to_vec();
        bytes[at] = value;
        bytes
    };
    // Offsets in a header: 0 opcode, 2 bindings, 4 bytes of data, 8 length, 12 reserved.
    let mut payloads: Vec<(Vec<u8>, u32)> = vec![
        (Vec::new(), 1),
        (vec![0; 8], 1),
        (vec![0; 4096], 1),
        (vec![0xff; 4096], 3),
        (changed(&barrier, 12, 1), 1),
        (changed(&barrier, 8, 8), 1),
        (changed(&barrier, 8, 24), 1),
        (changed(&barrier, 9, 0xff), 1),
        (changed(&barrier, 8, 0), 1),
        (changed(&fill, 8, 40), 1),
        (changed(&update, 4, 17), 1),
        (changed(&update, 6, 0xff), 1),
        (changed(&dispatch, 2, 0), 1),
        (changed(&dispatch, 2, 2), 1),
        (changed(&dispatch, 3, 0xff), 1),
        (changed(&dispatch, 4, 9), 1),
        (changed(&dispatch, 7, 0xff), 1),
        // The binding's last byte.
        (changed(&dispatch, dispatch.bytes().len() - 1, 1), 1),
        // More and fewer commands than announced.
        (barrier.bytes().to_vec(), 0),
        (barrier.bytes().to_vec(), 2),
        ([barrier.bytes(), &[0; 8]].concat(), 1),
        (fill.bytes()[..40].to_vec(), 1),
    ];
    payloads.extend([0, 6, 16, 31, 200].map(|opcode| (changed(&barrier, 0, opcode), 1)));
    for (payload, count) in payloads {
        let session = Session::open(&daemon, "payload");
        session.lane(0).submit_bytes(&payload, count);
        expect_violation(
            &daemon,
            &session,
            &format!("{count} commands in {payload:?}"),
        );
    }
    witness.goes_on();
}

fn expect_violation(daemon: &Daemon, session: &Session, what: &str) {
    assert_eq!(session.ended_with(), ErrorCode::Protocol, "{what}");
    let id = format!("client={} ", session.id);
    eventually("the log says which and why", || {
        daemon.log().says(&["protocol violation", &id, "reason="])
    });
}
