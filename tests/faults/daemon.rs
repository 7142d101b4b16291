//! A daemon that dies.

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use vkmps::{ErrorCode, Memory, Submission};
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::executor::block_on;
use vkmps_tests::kernels::{LONG, busy, program};
use vkmps_tests::patience::{PATIENCE, eventually, in_time};

#[test]
fn clients_of_a_killed_daemon_hear_of_it_within_a_second() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    let process = ClientProcess::start(&daemon, &["wait"]);
    process.log().line(&["waiting"]);
    let (slow, buffer) = (
        program(&client, "fma_loop"),
        client.alloc(LONG, Memory::Shared).unwrap(),
    );
    let submissions: Vec<Submission> = (0..100)
        .map(|_| client.submit(busy(&slow, &buffer)).unwrap())
        .collect();
    let (last, awaited) = (submissions[99].clone(), submissions[98].clone());
    let waiter = std::thread::spawn(move || (last.wait(), Instant::now()));
    let poller = std::thread::spawn(move || (block_on(awaited), Instant::now()));
    let family = daemon.process().descendants();
    let killed = Instant::now();
    daemon.signal(Signal::SIGKILL);
    for (how, thread) in [("wait", waiter), ("await", poller)] {
        let (result, when) = in_time(how, PATIENCE, || thread.join().unwrap());
        assert_eq!(result.unwrap_err().code(), ErrorCode::DaemonLost, "{how}");
        assert!(
            when - killed < Duration::from_secs(1),
            "{how} heard after {:?}",
            when - killed
        );
    }
    process.log().line(&["ended with DaemonLost"]);
    assert_eq!(
        client
            .alloc(64, Memory::Shared)
            .map(drop)
            .unwrap_err()
            .code(),
        ErrorCode::DaemonLost
    );
    assert_eq!(
        client
            .submit(busy(&slow, &buffer))
            .map(drop)
            .unwrap_err()
            .code(),
        ErrorCode::DaemonLost
    );
    daemon.await_exit();
    eventually("engine, compilers and spawner follow", || {
        !family.iter().any(|process| process.is_alive())
    });
    assert_eq!(
        daemon.try_connect("late").unwrap_err().code(),
        ErrorCode::NoDaemon
    );
}

#[test]
fn a_daemon_whose_spawner_is_killed_says_so_and_ends() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    let spawner = daemon.process().children();
    assert_eq!(spawner.len(), 1);
    let engine = daemon.engine();
    spawner[0].signal(Signal::SIGKILL);
    assert_eq!(daemon.await_exit().code(), Some(1));
    daemon.log().line(&["spawner is gone"]);
    assert!(!daemon.socket().exists());
    let code = client
        .alloc(64, Memory::Shared)
        .map(drop)
        .unwrap_err()
        .code();
    assert!(
        matches!(code, ErrorCode::DaemonLost | ErrorCode::EngineLost),
        "{code:?}"
    );
    eventually("the engine follows", || !engine.is_alive());
}
