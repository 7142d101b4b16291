//! Every way not to get a session has its own error.

use crate::fake::{Fake, send, unused_path, welcome};
use std::time::{Duration, Instant};
use vkmps::{Client, Error, ErrorCode, Priority};
use vkmps_ipc::memory::memfd_with;
use vkmps_ipc::socket::message_buffer;
use vkmps_protocol::message::DaemonMessage;

fn code_of(path: &std::path::Path) -> ErrorCode {
    let begun = Instant::now();
    let error: Error = Client::builder().socket(path).connect().unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{error} took too long"
    );
    error.code()
}

#[test]
fn without_a_socket_or_a_listener_there_is_no_daemon() {
    let path = unused_path();
    assert_eq!(code_of(&path), ErrorCode::NoDaemon);
    drop(vkmps_ipc::socket::Seqpacket::bind(&path).unwrap());
    assert_eq!(code_of(&path), ErrorCode::NoDaemon);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_refusal_arrives_with_its_code_and_text() {
    for code in [
        ErrorCode::DaemonFull,
        ErrorCode::VersionMismatch,
        ErrorCode::Draining,
        ErrorCode::NoDevice,
    ] {
        let fake = Fake::serving(move |socket, _| {
            socket.receive(&mut *message_buffer()).unwrap();
            send(
                &socket,
                &DaemonMessage::Refused {
                    code,
                    text: "says the test".to_owned(),
                },
                &[],
            );
        });
        let error = Client::builder().socket(&fake.path).connect().unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains("says the test"), "{error}");
    }
}

#[test]
fn a_refusal_that_does_not_wait_for_the_hello_arrives_too() {
    let fake = Fake::serving(|socket, _| {
        send(
            &socket,
            &DaemonMessage::Refused {
                code: ErrorCode::DaemonFull,
                text: String::new(),
            },
            &[],
        );
    });
    for _ in 0..50 {
        assert_eq!(code_of(&fake.path), ErrorCode::DaemonFull);
    }
}

#[test]
fn a_daemon_that_hangs_up_is_lost() {
    let fake = Fake::serving(|socket, _| drop(socket));
    assert_eq!(code_of(&fake.path), ErrorCode::DaemonLost);
}

#[test]
fn garbage_and_wrong_descriptors_are_protocol_errors() {
    let fake = Fake::serving(|socket, _| socket.send(&[0xff; 40], &[]).unwrap());
    assert_eq!(code_of(&fake.path), ErrorCode::Protocol);
    let fake = Fake::serving(|socket, _| send(&socket, &welcome(), &[]));
    assert_eq!(code_of(&fake.path), ErrorCode::Protocol);
    let fake = Fake::serving(|socket, _| {
        let short = memfd_with("short", &[0; 4096]).unwrap();
        send(&socket, &welcome(), &[&short, &short]);
    });
    assert_eq!(code_of(&fake.path), ErrorCode::Protocol);
    let fake = Fake::serving(|socket, _| send(&socket, &DaemonMessage::Done, &[]));
    assert_eq!(code_of(&fake.path), ErrorCode::Protocol);
}

#[test]
fn a_session_knows_its_number_priority_and_device() {
    let fake = Fake::start();
    let client = Client::builder()
        .socket(&fake.path)
        .name("ä".repeat(100))
        .priority(Priority::High)
        .connect()
        .unwrap();
    assert_eq!((client.session(), client.priority()), (7, Priority::Medium));
    assert_eq!(client.device().name, "fake");
}
