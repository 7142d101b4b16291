//! Its own socket, and those of systemd.

use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use vkmps::Client;
use vkmps_ipc::socket::Seqpacket;
use vkmps_tests::daemon::{Daemon, SOCKET, command, inheriting, spawn};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::Adder;
use vkmps_tests::patience::eventually;
use vkmps_tests::witness::Witness;

#[test]
fn sockets_of_systemd_are_used_and_left_alone() {
    let folder = Folder::new();
    let path = folder.join("inherited.sock");
    let listener = Seqpacket::bind(&path).unwrap();
    let (mut child, log) = spawn(inheriting(&folder, listener.into()));
    // The listener is there before the daemon is: connecting waits for it to accept.
    let client = Client::builder()
        .socket(&path)
        .connect()
        .unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    assert!(!folder.join(SOCKET).exists(), "no socket of its own beside");
    vkmps_tests::processes::Process(child.id()).signal(Signal::SIGTERM);
    assert_eq!(exit(&mut child).code(), Some(0), "{}", log.text());
    assert!(path.exists(), "the socket is systemd's");
}

#[test]
fn a_crash_under_systemd_is_left_to_systemd() {
    let folder = Folder::new();
    let path = folder.join("inherited.sock");
    let listener = Seqpacket::bind(&path).unwrap();
    let (mut child, log) = spawn(inheriting(&folder, listener.into()));
    let _client = Client::builder()
        .socket(&path)
        .connect()
        .unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    vkmps_tests::processes::Process(child.id()).signal(Signal::SIGQUIT);
    assert_eq!(
        exit(&mut child).signal(),
        Some(Signal::SIGQUIT as i32),
        "the core dump is not hidden"
    );
    assert!(path.exists());
}

#[test]
fn an_inherited_socket_of_the_wrong_kind_is_refused() {
    let folder = Folder::new();
    let stream = std::os::unix::net::UnixListener::bind(folder.join("stream.sock")).unwrap();
    let (mut child, log) = spawn(inheriting(&folder, stream.into()));
    assert_eq!(exit(&mut child).code(), Some(1), "{}", log.text());
    log.line(&["SOCK_SEQPACKET"]);
}

#[test]
fn a_live_duplicate_is_refused_with_the_pid_of_the_first() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let folder = Folder::new();
    let mut second = command(&folder);
    second.arg("-s").arg(daemon.socket());
    let output = second.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("pid {}", daemon.process().0)),
        "{text}"
    );
    witness.goes_on();
    daemon.connect();
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = Folder::new();
    drop(Seqpacket::bind(&folder.join(SOCKET)).unwrap());
    let mut daemon = Daemon::launch(folder, |_| {});
    daemon.await_service();
    // A daemon that was killed leaves socket and lock file behind.
    let folder = daemon.kill_and_keep_folder();
    assert!(folder.join(SOCKET).exists());
    let mut next = Daemon::launch(folder, |_| {});
    next.await_service();
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let precious = folder.join("precious");
    fs::write(&precious, "data").unwrap();
    let mut onto_file = command(&folder);
    let output = onto_file.arg("-s").arg(&precious).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("precious"));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "data");
    let mut nowhere = command(&folder);
    let output = nowhere
        .args(["-s", "/nonexistent/folder/vkmps.sock"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/folder"));
}

#[test]
fn the_socket_and_its_lock_are_for_the_daemons_user_and_group() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start();
    let mode = fs::metadata(daemon.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o007, 0, "others may connect: {mode:o}");
    let lock = fs::read_to_string(daemon.socket().with_extension("sock.lock")).unwrap();
    assert_eq!(lock.trim(), daemon.process().0.to_string());
}

pub(crate) fn exit(child: &mut std::process::Child) -> ExitStatus {
    let mut status = None;
    eventually("vkmpsd ends", || {
        status = child.try_wait().expect("it is our child");
        status.is_some()
    });
    status.expect("just seen")
}
