//! Descriptors that come along.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use vkmps::ErrorCode;
use vkmps_ipc::memory::memfd_with;
use vkmps_ipc::socket::Seqpacket;
use vkmps_ipc::wake;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::{Connection, Session, hello, registration};
use vkmps_tests::kernels::module;
use vkmps_tests::patience::holds_within;
use vkmps_tests::witness::Witness;

#[test]
fn a_wrong_number_of_descriptors_ends_the_session_and_leaks_none() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let file = memfd_with("laden", &module("noop")).unwrap();
    let left_behind = || {
        let descriptors = daemon.process().descriptors();
        descriptors
            .iter()
            .filter(|descriptor| descriptor.contains("memfd:laden"))
            .count()
    };
    for count in [1, 2, 4, 5, 20] {
        let connection = Connection::open(daemon.socket());
        connection.say(&hello("laden"), &vec![file.as_fd(); count]);
        assert_eq!(
            connection.verdict(),
            Some(ErrorCode::Protocol),
            "{count} with a hello"
        );
    }
    for count in [0, 2, 4, 5, 20] {
        let session = Session::open(&daemon, "laden");
        session
            .connection()
            .say(&registration(280, "main"), &vec![file.as_fd(); count]);
        assert_eq!(
            session.ended_with(),
            ErrorCode::Protocol,
            "{count} with a module"
        );
        daemon
            .log()
            .line(&["protocol violation", &format!("client={} ", session.id)]);
    }
    holds_within(Duration::from_secs(5), || left_behind() == 0);
    assert_eq!(
        left_behind(),
        0,
        "descriptors of packets that were refused are still open"
    );
    witness.goes_on();
}

#[test]
fn descriptors_of_the_wrong_kind_are_refused_and_the_session_goes_on() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "odd");
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let (one, two) = Seqpacket::pair().unwrap();
    let open = |path: &str| OwnedFd::from(std::fs::File::open(path).unwrap());
    let write_only = std::fs::File::options().write(true).open(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&memfd_with("module", &module("noop")).unwrap())
    ));
    let mut odd = vec![
        reader,
        writer,
        one.into(),
        two.into(),
        wake::eventfd().unwrap(),
    ];
    odd.extend(
        [
            "/dev/zero",
            "/dev/null",
            "/",
            "/proc/self/maps",
            "/etc/passwd",
        ]
        .map(open),
    );
    odd.extend(write_only.map(OwnedFd::from));
    for descriptor in &odd {
        let code = session.refused(&registration(280, "main"), &[descriptor.as_fd()]);
        assert_eq!(code, ErrorCode::InvalidModule, "{descriptor:?}");
    }
    daemon
        .log()
        .line(&["program refused", &format!("client={} ", session.id)]);
    session.register(&module("noop"), "main").unwrap();
    witness.goes_on();
}
