//! Daemons that are not there, or are none.

use std::time::Duration;
use vkmps::{Client, ErrorCode, Memory};
use vkmps_ipc::memory::sealed_memfd;
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_ipc::wake;
use vkmps_protocol::encode;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::{DaemonMessage, DeviceDescription, Priority};
use vkmps_protocol::quota::Quota;
use vkmps_protocol::ring::REGION_BYTES;
use vkmps_tests::folder::Folder;
use vkmps_tests::patience::in_time;

#[test]
fn a_client_that_finds_no_daemon_hears_so_at_once() {
    let folder = Folder::new();
    let nobody = folder.join("nobody.sock");
    let connect = |path: &std::path::Path| {
        Client::builder()
            .socket(path)
            .connect()
            .map(drop)
            .unwrap_err()
            .code()
    };
    assert_eq!(connect(&nobody), ErrorCode::NoDaemon);
    drop(Seqpacket::bind(&nobody).unwrap());
    assert_eq!(
        connect(&nobody),
        ErrorCode::NoDaemon,
        "a socket that a dead daemon left"
    );
    assert_eq!(
        connect(&folder.join("x".repeat(300))),
        ErrorCode::InvalidArgument
    );
}

#[test]
fn a_client_tells_strange_daemons_apart_and_never_hangs() {
    let refused = |code| {
        encode(&DaemonMessage::Refused {
            code,
            text: "because".to_owned(),
        })
        .unwrap()
    };
    let cases = [
        (Answer::HangUp, ErrorCode::DaemonLost),
        (
            Answer::Packet(refused(ErrorCode::VersionMismatch)),
            ErrorCode::VersionMismatch,
        ),
        (
            Answer::Packet(refused(ErrorCode::DaemonFull)),
            ErrorCode::DaemonFull,
        ),
        (
            Answer::Packet(refused(ErrorCode::Draining)),
            ErrorCode::Draining,
        ),
        (Answer::Packet(vec![0; 10]), ErrorCode::Protocol),
        (Answer::Packet(vec![0xff; 20_000]), ErrorCode::Protocol),
        (
            Answer::Packet(encode(&DaemonMessage::Done).unwrap()),
            ErrorCode::Protocol,
        ),
        (
            Answer::Packet(encode(&welcome()).unwrap()),
            ErrorCode::Protocol,
        ),
        (Answer::Welcome { region_bytes: 4096 }, ErrorCode::Protocol),
    ];
    for (answer, expected) in cases {
        let what = format!("{answer:?}");
        let (folder, fake) = fake_daemon(answer);
        let socket = folder.join("fake.sock");
        let error = in_time(&what, Duration::from_secs(5), move || {
            Client::builder().socket(socket).connect().unwrap_err()
        });
        assert_eq!(error.code(), expected, "{what}: {error}");
        fake.join().unwrap();
    }
}

#[test]
fn a_daemon_that_leaves_in_the_middle_of_a_request_is_noticed() {
    let (folder, fake) = fake_daemon(Answer::Welcome {
        region_bytes: REGION_BYTES as u64,
    });
    let client = Client::builder()
        .socket(folder.join("fake.sock"))
        .connect()
        .unwrap();
    let error = in_time(
        "a request to a daemon that left",
        Duration::from_secs(5),
        move || client.alloc(64, Memory::Shared).map(drop).unwrap_err(),
    );
    assert_eq!(error.code(), ErrorCode::DaemonLost, "{error}");
    fake.join().unwrap();
}

/// What a daemon that is none answers to a hello before it hangs up.
#[derive(Debug)]
enum Answer {
    HangUp,
    Packet(Vec<u8>),
    /// A welcome with a region of this size; hangs up with the next message.
    Welcome {
        region_bytes: u64,
    },
}

fn fake_daemon(answer: Answer) -> (Folder, std::thread::JoinHandle<()>) {
    let folder = Folder::new();
    let listener = Seqpacket::bind(&folder.join("fake.sock")).expect("a socket");
    listener.set_nonblocking(false).expect("a flag");
    let thread = std::thread::spawn(move || {
        let client = listener.accept().expect("a client");
        client.set_nonblocking(false).expect("a flag");
        let mut buffer = message_buffer();
        client.receive(&mut *buffer).expect("a hello");
        match answer {
            Answer::HangUp => {}
            Answer::Packet(bytes) => client.send(&bytes, &[]).expect("room"),
            Answer::Welcome { region_bytes } => {
                use std::os::fd::AsFd;
                let region = sealed_memfd("fake", region_bytes).expect("memory");
                let doorbell = wake::eventfd().expect("an eventfd");
                let message = encode(&welcome()).expect("a message");
                client
                    .send(&message, &[region.as_fd(), doorbell.as_fd()])
                    .expect("room");
                let _ = client.receive(&mut *buffer);
            }
        }
    });
    (folder, thread)
}

fn welcome() -> DaemonMessage {
    let device = DeviceDescription::default();
    DaemonMessage::Welcome {
        session: SessionId(1),
        features: 0,
        priority: Priority::Medium,
        device,
        quota: Quota::default(),
    }
}
