//! Signals.

use nix::sys::signal::Signal;
use std::fs;
use std::time::{Duration, Instant};
use vkmps::{ErrorCode, Memory};
use vkmps_tests::daemon::{CONFIG, Daemon};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::{LONG, busy, program};
use vkmps_tests::patience::{PATIENCE, eventually};
use vkmps_tests::witness::Witness;

#[test]
fn a_term_or_interrupt_drains_and_cleans_up() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = patient();
        let client = daemon.connect();
        let (slow, buffer) = (
            program(&client, "fma_loop"),
            client.alloc(LONG, Memory::Shared).unwrap(),
        );
        let submission = client.submit(busy(&slow, &buffer)).unwrap();
        assert!(!submission.is_done().unwrap(), "work is in flight");
        let family = daemon.process().descendants();
        daemon.signal(signal);
        submission
            .wait_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("{signal}: work in flight was not finished: {error}"));
        assert_eq!(daemon.await_exit().code(), Some(0), "{signal}");
        daemon.log().line(&["stopping", "sessions="]);
        assert!(!daemon.socket().exists() && !daemon.socket().with_extension("sock.lock").exists());
        eventually("engine, compiler and spawner are gone", || {
            !family.iter().any(|process| process.is_alive())
        });
        let error = client.alloc(64, Memory::Shared).unwrap_err();
        assert!(
            matches!(error.code(), ErrorCode::Draining | ErrorCode::DaemonLost),
            "{error}"
        );
        assert_eq!(
            daemon.try_connect("late").unwrap_err().code(),
            ErrorCode::NoDaemon
        );
    }
}

#[test]
fn what_was_submitted_before_the_signal_is_finished_even_if_the_engine_had_not_heard_of_it() {
    let mut daemon = patient();
    let client = daemon.connect();
    let (slow, buffer) = (
        program(&client, "fma_loop"),
        client.alloc(LONG / 16, Memory::Shared).unwrap(),
    );
    client.submit(busy(&slow, &buffer)).unwrap().wait().unwrap();
    let engine = daemon.engine();
    engine.signal(Signal::SIGSTOP);
    eventually("the engine stands", || engine.is_stopped());
    // On one buffer: each but the first is launched long after the engine has heard of the stop.
    let submissions: Vec<_> = (0..8)
        .map(|_| client.submit(busy(&slow, &buffer)).unwrap())
        .collect();
    daemon.signal(Signal::SIGTERM);
    daemon.log().line(&["stopping", "sessions="]);
    engine.signal(Signal::SIGCONT);
    for submission in submissions {
        submission.wait_timeout(PATIENCE).unwrap();
    }
    assert_eq!(daemon.await_exit().code(), Some(0));
}

#[test]
fn who_asks_twice_does_not_wait_for_the_work_in_flight() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    let (slow, buffer) = (
        program(&client, "fma_loop"),
        client.alloc(LONG, Memory::Shared).unwrap(),
    );
    let submissions: Vec<_> = (0..60)
        .map(|_| client.submit(busy(&slow, &buffer)).unwrap())
        .collect();
    daemon.signal(Signal::SIGTERM);
    daemon.log().line(&["stopping", "sessions="]);
    let begun = Instant::now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.await_exit().code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    let code = submissions.last().unwrap().wait().unwrap_err().code();
    assert!(
        matches!(
            code,
            ErrorCode::Draining | ErrorCode::DaemonLost | ErrorCode::EngineLost
        ),
        "{code:?}"
    );
}

#[test]
fn a_broken_pipe_is_ignored() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let bit = 1 << (Signal::SIGPIPE as u32 - 1);
    assert_ne!(daemon.process().signal_mask("SigIgn") & bit, 0);
    daemon.signal(Signal::SIGPIPE);
    witness.goes_on();
}

#[test]
fn a_crash_signal_takes_socket_and_lock_along() {
    for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGQUIT] {
        let mut daemon = Daemon::start();
        let family = daemon.process().descendants();
        daemon.signal(signal);
        assert_eq!(
            daemon.await_exit().code(),
            Some(128 + signal as i32),
            "{signal}"
        );
        assert!(
            !daemon.socket().exists(),
            "{signal}: the socket is still there"
        );
        assert!(
            !daemon.socket().with_extension("sock.lock").exists(),
            "{signal}: the lock is still there"
        );
        eventually("engine and spawner are gone", || {
            !family.iter().any(|process| process.is_alive())
        });
    }
}

/// A daemon that gives work in flight all the time that a test has: on a busy machine the default may be short.
fn patient() -> Daemon {
    let folder = Folder::new();
    let text = format!("[service]\ndrain-timeout = \"{}s\"\n", PATIENCE.as_secs());
    fs::write(folder.join(CONFIG), text).expect("the folder is ours");
    let mut daemon = Daemon::launch(folder, |_| {});
    daemon.await_service();
    daemon
}
