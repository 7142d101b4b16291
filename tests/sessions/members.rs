//! Clients of one session, through the client library.

use nix::sys::signal::Signal;
use std::time::Duration;
use vkmps::{
    Amount, Client, Error, ErrorCode, Memory, Priority, Scope, Session, SessionBuilder,
    SessionLimits,
};
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::Adder;
use vkmps_tests::patience::eventually;

const MIB: u64 = 1 << 20;

fn of_memory(bytes: u64) -> SessionLimits {
    SessionLimits {
        memory: Some(Amount::Bytes(bytes)),
        ..SessionLimits::default()
    }
}

fn builder(daemon: &Daemon) -> SessionBuilder {
    Session::builder().socket(daemon.socket()).name("job")
}

fn join(daemon: &Daemon, session: &Session) -> Result<Client, Error> {
    let builder = Client::builder().socket(daemon.socket());
    builder.session(&session.token()).connect()
}

/// Waits until a client's session is over; how it ended.
fn end_of(client: &Client) -> ErrorCode {
    let mut code = None;
    eventually("the client's session is over", || {
        code = client.quota().err().map(|error| error.code());
        code.is_some()
    });
    code.expect("just seen")
}

#[test]
fn clients_of_one_session_share_its_memory_and_its_priority() {
    let daemon = Daemon::start();
    let limits = SessionLimits {
        max_priority: Some(Priority::Low),
        ..of_memory(64 * MIB)
    };
    let session = builder(&daemon).limits(limits).create().unwrap();
    daemon.log().line(&["session created", "name=\"job\""]);
    let (one, two) = (
        join(&daemon, &session).unwrap(),
        join(&daemon, &session).unwrap(),
    );
    assert_eq!(
        (one.priority(), two.priority()),
        (Priority::Low, Priority::Low)
    );
    let kept = one.alloc(40 * MIB, Memory::Shared).unwrap();
    let refused = two.alloc(30 * MIB, Memory::Shared).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitReached);
    let excess = refused.excess().expect("it has numbers");
    assert_eq!(
        (excess.scope, excess.asked, excess.used, excess.most),
        (Scope::Group, 30 * MIB, 40 * MIB, 64 * MIB)
    );
    // Who does not belong to it loses nothing by it.
    daemon.connect().alloc(30 * MIB, Memory::Shared).unwrap();
    drop(kept);
    drop(one);
    eventually("what one had is the other's", || {
        two.alloc(60 * MIB, Memory::Shared).is_ok()
    });
    Adder::new(&two, 100).unwrap().round(&two, 1).unwrap();
}

#[test]
fn its_clients_end_with_it_and_nothing_of_them_is_left() {
    let daemon = Daemon::start();
    let session = builder(&daemon).create().unwrap();
    let member = join(&daemon, &session).unwrap();
    let bystander = daemon.connect();
    member.alloc(16 * MIB, Memory::Shared).unwrap();
    let token = session.token();
    drop(session);
    assert_eq!(end_of(&member), ErrorCode::SessionOver);
    let late = Client::builder().socket(daemon.socket()).session(&token);
    assert_eq!(late.connect().unwrap_err().code(), ErrorCode::SessionOver);
    Adder::new(&bystander, 100)
        .unwrap()
        .round(&bystander, 1)
        .unwrap();
    let line = daemon.log().line(&["session over", "name=\"job\""]);
    assert!(line.contains("has left"), "{line}");
}

#[test]
fn it_ends_at_its_time_and_its_holder_hears_of_it() {
    let daemon = Daemon::start();
    let session = builder(&daemon).ttl(Duration::from_millis(300)).create();
    let session = session.unwrap();
    assert_eq!(session.end(), None);
    let member = join(&daemon, &session).unwrap();
    assert_eq!(end_of(&member), ErrorCode::SessionOver);
    let mut end = None;
    eventually("the holder is told", || {
        end = session.end();
        end.is_some()
    });
    let end = end.expect("just seen");
    assert_eq!(end.code(), ErrorCode::SessionOver);
    assert!(end.to_string().contains("its time has passed"), "{end}");
}

#[test]
fn a_process_belongs_to_the_session_of_its_environment_and_dies_without_a_trace() {
    let daemon = Daemon::start();
    let session = builder(&daemon)
        .limits(of_memory(8 * MIB))
        .create()
        .unwrap();
    let token = session.token();
    let mut process = ClientProcess::start_with(&daemon, &["hold", "4194304"], |command| {
        command.env("VKMPS_SESSION", &token);
    });
    process.log().line(&["holds"]);
    let member = join(&daemon, &session).unwrap();
    let refused = member.alloc(6 * MIB, Memory::Shared).unwrap_err();
    assert_eq!(refused.excess().map(|excess| excess.used), Some(4 * MIB));
    process.process().signal(Signal::SIGKILL);
    process.await_exit();
    eventually("all of it is free", || {
        member.alloc(8 * MIB, Memory::Shared).is_ok()
    });
}

#[test]
fn what_is_no_session_is_an_error_and_never_no_session() {
    let daemon = Daemon::start();
    for (text, code) in [
        ("", ErrorCode::InvalidArgument),
        ("none", ErrorCode::InvalidArgument),
        (&"0".repeat(64), ErrorCode::SessionOver),
    ] {
        let client = Client::builder().socket(daemon.socket()).session(text);
        assert_eq!(client.connect().unwrap_err().code(), code, "{text:?}");
    }
    let session = builder(&daemon).create().unwrap();
    let token = session.token();
    assert!(!format!("{session:?}").contains(&token));
    assert!(!daemon.log().text().contains(&token));
}
