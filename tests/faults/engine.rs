//! An engine that dies.

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use vkmps::{ErrorCode, Memory, Submission};
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::{CONFIG, Daemon};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::{Adder, LONG, busy, module, program};
use vkmps_tests::patience::{PATIENCE, eventually, in_time};
use vkmps_tests::witness::Witness;

#[test]
fn clients_of_a_killed_engine_hear_of_it_within_a_second_and_a_new_one_serves() {
    let daemon = Daemon::start();
    for round in 0..3 {
        let client = daemon.connect();
        let process = ClientProcess::start(&daemon, &["wait"]);
        process.log().line(&["waiting"]);
        let slow = program(&client, "fma_loop");
        let buffer = client.alloc(LONG, Memory::Shared).unwrap();
        let submissions: Vec<Submission> = (0..50)
            .map(|_| client.submit(busy(&slow, &buffer)).unwrap())
            .collect();
        let waiting = submissions[49].clone();
        let waiter = std::thread::spawn(move || waiting.wait());
        let engine = daemon.engine();
        let mark = daemon.log().mark();
        let begun = Instant::now();
        engine.signal(Signal::SIGKILL);
        let error = in_time("waiting for a dead engine", PATIENCE, || {
            waiter.join().unwrap()
        })
        .unwrap_err();
        assert_eq!(error.code(), ErrorCode::EngineLost, "round {round}");
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "heard after {:?}",
            begun.elapsed()
        );
        process.log().line(&["ended with EngineLost"]);
        daemon.log().line_after(mark, &["engine died", "signal 9"]);
        // Every later call says the same, and none hangs.
        for code in [
            client
                .alloc(64, Memory::Shared)
                .map(drop)
                .unwrap_err()
                .code(),
            client
                .submit(busy(&slow, &buffer))
                .map(drop)
                .unwrap_err()
                .code(),
            client
                .program(&module("noop"))
                .register()
                .map(drop)
                .unwrap_err()
                .code(),
            client.stream().map(drop).unwrap_err().code(),
            submissions[48].is_done().map(drop).unwrap_err().code(),
            buffer.write(0, &[1]).unwrap_err().code(),
        ] {
            assert_eq!(code, ErrorCode::EngineLost, "round {round}");
        }
        // What was known to the old engine is known to the new one.
        let next = daemon.connect();
        Adder::new(&next, 1000)
            .unwrap()
            .round(&next, round)
            .unwrap();
        let again = program(&next, "fma_loop");
        let buffer = next.alloc(1024, Memory::Shared).unwrap();
        next.submit(busy(&again, &buffer)).unwrap().wait().unwrap();
        assert!(!engine.is_alive());
        assert_eq!(daemon.engines().len(), 1);
    }
}

#[test]
fn an_engine_killed_while_clients_come_and_go_is_replaced() {
    let daemon = Daemon::start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let served = daemon.try_connect("guest").and_then(|client| {
                        Adder::new(&client, 100).and_then(|adder| adder.round(&client, 1))
                    });
                    // A wrong result panics; of errors only these are right.
                    if let Err(error) = served {
                        let expected =
                            matches!(error.code(), ErrorCode::EngineLost | ErrorCode::NoDevice);
                        assert!(expected, "{error}");
                    }
                }
            });
        }
        for _ in 0..3 {
            let engine = daemon.engines();
            engine
                .iter()
                .for_each(|engine| engine.signal(Signal::SIGKILL));
            eventually("another engine serves", || {
                daemon.engines().iter().any(|new| !engine.contains(new))
                    && daemon.try_connect("probe").is_ok()
            });
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(Witness::of(&daemon));
}

#[test]
fn an_engine_that_hangs_is_replaced_and_its_clients_hear_of_it() {
    let folder = Folder::new();
    std::fs::write(folder.join(CONFIG), "service.engine-timeout = \"3s\"\n").unwrap();
    let mut daemon = Daemon::launch(folder, |_| {});
    daemon.await_service();
    let client = daemon.connect();
    let engine = daemon.engine();
    engine.signal(Signal::SIGSTOP);
    daemon.log().line(&["the engine does not answer"]);
    daemon.log().line(&["engine died", "it did not answer"]);
    let error = client.alloc(64, Memory::Shared).unwrap_err();
    assert_eq!(error.code(), ErrorCode::EngineLost);
    eventually("a new engine serves", || {
        daemon.try_connect("after").is_ok_and(|client| {
            Adder::new(&client, 100).is_ok_and(|adder| adder.round(&client, 1).is_ok())
        })
    });
    assert_ne!(daemon.engine(), engine);
}
