//! Descriptors that come along.

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use std::fs::Permissions;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;
use vkmps::ErrorCode;
use vkmps_ipc::memory::memfd_with;
use vkmps_ipc::socket::Seqpacket;
use vkmps_ipc::wake;
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::{Connection, Session, hello, registration};
use vkmps_tests::kernels::module;
use vkmps_tests::patience::{eventually, holds_within};
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
fn descriptors_that_never_close_take_nobody_elses_place() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let before = daemon.process().descriptors().len();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stuck = lingering(&listener);
    let (pipe, _) = nix::unistd::pipe().unwrap();
    // So that nobody but the daemon has it in the end.
    daemon.signal(Signal::SIGSTOP);
    let first = Connection::open(daemon.socket());
    first.send(&[0xff], &[stuck.as_fd()]);
    drop(stuck);
    daemon.signal(Signal::SIGCONT);
    assert_eq!(first.verdict(), Some(ErrorCode::Protocol));
    let mut connections = Vec::new();
    // What is on its way counts against the sender, who in this test is the daemon's own user.
    for _ in 0..PACKETS {
        let connection = Connection::open(daemon.socket());
        connection.send(&[0xff], &vec![pipe.as_fd(); 253]);
        connections.push(connection);
    }
    connections.iter().for_each(|connection| {
        connection.verdict();
    });
    // What may be left unclosed, one packet more, and the sockets of those who were turned away with theirs unread.
    let left_behind = daemon.process().descriptors().len() - before;
    assert!(left_behind < 64 + 253 + PACKETS, "{left_behind}");
    let refusal = daemon.try_connect("same user").unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::DaemonFull, "{refusal}");
    witness.goes_on();
    if nix::unistd::geteuid().is_root() {
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        open(daemon.socket().parent().unwrap(), 0o711);
        open(daemon.socket(), 0o666);
        let mut other = ClientProcess::start_with(&daemon, &["add", "10"], |command| {
            command.uid(SOMEBODY_ELSE);
        });
        assert!(other.await_exit().success(), "{}", other.log().text());
    }
    // With the peer of what lingers all of it is gone.
    drop(listener);
    eventually("the user is served again", || {
        daemon.try_connect("same user").is_ok()
    });
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

/// A socket that takes a minute to close, unless the listener goes.
fn lingering(listener: &TcpListener) -> TcpStream {
    let address = listener.local_addr().expect("it is bound");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nonblocking(true).expect("a socket");
    while stream.write(&[0; 65_536]).is_ok() {}
    let for_a_minute = nix::libc::linger {
        l_onoff: 1,
        l_linger: 60,
    };
    setsockopt(&stream, sockopt::Linger, &for_a_minute).expect("a socket");
    stream
}

const PACKETS: usize = 40;
const SOMEBODY_ELSE: u32 = 65534;
