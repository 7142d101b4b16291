//! What comes over the socket.

use crate::noise::noise;
use std::os::fd::{AsFd, BorrowedFd};
use vkmps::ErrorCode;
use vkmps_ipc::memory::memfd_with;
use vkmps_protocol::handle::{BufferId, ProgramId};
use vkmps_protocol::limits::MAX_MESSAGE_BYTES;
use vkmps_protocol::message::{ClientMessage, DaemonMessage, MemoryClass};
use vkmps_protocol::{MAGIC, VERSION_MAJOR, encode};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::{Connection, Reply, Session, hello, hello_with, registration};
use vkmps_tests::kernels::module;
use vkmps_tests::patience::eventually;
use vkmps_tests::witness::Witness;

#[test]
fn packets_that_are_no_message_end_their_connection_and_nothing_else() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let greeting = encode(&hello("görl")).unwrap();
    let mut packets: Vec<Vec<u8>> = (1..greeting.len())
        .map(|length| greeting[..length].to_vec())
        .collect();
    packets.push([&greeting[..], &[0]].concat());
    packets.extend([1, 2, 64, 1000, MAX_MESSAGE_BYTES].map(|length| vec![0; length]));
    packets.extend(
        [1, 64, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1, 150_000].map(|length| vec![0xff; length]),
    );
    packets.extend((0..64_u32).map(|seed| noise(seed.into(), 7 + seed as usize * 31)));
    // The name's length, then its bytes, in the last 6 bytes of the greeting: a length beyond everything, broken UTF-8.
    let at = greeting.len() - 6;
    packets.push([&greeting[..at], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat());
    packets.push([&greeting[..at], &[2, 0xc3, 0x28]].concat());
    for (number, packet) in packets.iter().enumerate() {
        let mark = daemon.log().mark();
        let connection = Connection::open(daemon.socket());
        connection.send(packet, &[]);
        assert_eq!(
            connection.verdict(),
            Some(ErrorCode::Protocol),
            "{} bytes: {:?}",
            packet.len(),
            &packet[..packet.len().min(40)]
        );
        if number < LOGGED {
            daemon.log().line_after(mark, &["protocol violation"]);
        }
    }
    witness.goes_on();
}

#[test]
fn whoever_breaks_the_protocol_again_and_again_cannot_flood_the_log() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let mut broken = 0;
    let mut break_it = || {
        let connection = Connection::open(daemon.socket());
        connection.send(&[0xff], &[]);
        assert_eq!(connection.verdict(), Some(ErrorCode::Protocol));
        broken += 1;
    };
    (0..500).for_each(|_| break_it());
    eventually("a later line says how many were left out", || {
        break_it();
        daemon.log().says(&["protocol violation", "suppressed="])
    });
    let text = daemon.log().text();
    let lines = text
        .lines()
        .filter(|line| line.contains("protocol violation"));
    let lines = lines.count();
    assert!(
        (LOGGED..broken).contains(&lines),
        "{lines} lines of {broken}"
    );
    witness.goes_on();
}

#[test]
fn a_hello_with_a_wrong_magic_version_or_name_is_refused_with_the_reason() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let long = "n".repeat(65);
    let cases = [
        (
            hello_with(MAGIC + 1, VERSION_MAJOR, "magic"),
            ErrorCode::Protocol,
        ),
        (hello_with(0, VERSION_MAJOR, "magic"), ErrorCode::Protocol),
        (
            hello_with(MAGIC, VERSION_MAJOR + 1, "newer"),
            ErrorCode::VersionMismatch,
        ),
        (hello_with(MAGIC, 0, "older"), ErrorCode::VersionMismatch),
        (hello_with(MAGIC, VERSION_MAJOR, &long), ErrorCode::Protocol),
    ];
    for (message, expected) in cases {
        let mark = daemon.log().mark();
        let connection = Connection::open(daemon.socket());
        connection.say(&message, &[]);
        assert_eq!(connection.verdict(), Some(expected), "{message:?}");
        let line = if expected == ErrorCode::Protocol {
            "protocol violation"
        } else {
            "VersionMismatch"
        };
        daemon.log().line_after(mark, &[line]);
    }
    let mark = daemon.log().mark();
    let _session = Session::open(&daemon, "\u{1b}[31m\nforged line\u{202e}");
    let line = daemon.log().line_after(mark, &["client connected"]);
    assert!(
        !line.contains('\u{1b}') && line.contains("forged line"),
        "control characters are escaped: {line:?}"
    );
    witness.goes_on();
}

#[test]
fn messages_out_of_order_end_the_session() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let module_file = memfd_with("module", &module("noop")).unwrap();
    let early: [(ClientMessage, &[BorrowedFd<'_>]); 5] = [
        (
            ClientMessage::AllocateBuffer {
                bytes: 64,
                class: MemoryClass::Shared,
            },
            &[],
        ),
        (
            ClientMessage::FreeBuffer {
                buffer: BufferId(1),
            },
            &[],
        ),
        (
            ClientMessage::ReleaseProgram {
                program: ProgramId(1),
            },
            &[],
        ),
        (registration(280, "main"), &[module_file.as_fd()]),
        (ClientMessage::Reserved, &[]),
    ];
    for (message, descriptors) in early {
        let connection = Connection::open(daemon.socket());
        connection.say(&message, descriptors);
        assert_eq!(
            connection.verdict(),
            Some(ErrorCode::Protocol),
            "before hello: {message:?}"
        );
    }
    for message in [hello("again"), ClientMessage::Reserved] {
        let session = Session::open(&daemon, "twice");
        session.connection().say(&message, &[]);
        assert_eq!(
            session.ended_with(),
            ErrorCode::Protocol,
            "after hello: {message:?}"
        );
        daemon.log().line(&[
            "protocol violation",
            &format!("client={} ", session.id),
            "twice",
        ]);
    }
    // Requests that come before the last answer are served one by one.
    let session = Session::open(&daemon, "eager");
    for _ in 0..50 {
        session.connection().say(
            &ClientMessage::AllocateBuffer {
                bytes: 64,
                class: MemoryClass::Shared,
            },
            &[],
        );
    }
    for _ in 0..50 {
        let reply = session.connection().receive();
        assert!(
            matches!(reply, Reply::Message(DaemonMessage::BufferReady { .. }, _)),
            "{reply:?}"
        );
    }
    witness.goes_on();
}

#[test]
fn a_client_that_reads_no_answers_is_let_go() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "deaf");
    let mark = daemon.log().mark();
    for _ in 0..20_000 {
        session.connection().say(
            &ClientMessage::FreeBuffer {
                buffer: BufferId(1),
            },
            &[],
        );
    }
    daemon
        .log()
        .line_after(mark, &[&format!("client={} ", session.id), "does not read"]);
    witness.goes_on();
}

/// So many lines of one kind about one user are written at once; of more, a few in a second.
const LOGGED: usize = 50;
