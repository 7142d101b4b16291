//! Every way to wait, and to do nothing.

use std::time::{Duration, Instant};
use vkmps::{ErrorCode, Memory, Submission};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::executor::block_on;
use vkmps_tests::kernels::{
    Adder, LONG, affine, affine_over, buffer_of, busy, program, read_words,
};
use vkmps_tests::patience::{PATIENCE, eventually, in_time};
use vkmps_tests::processes::counted;

#[test]
fn a_submit_can_be_waited_for_with_a_timeout_and_polled() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let (slow, buffer) = (
        program(&client, "fma_loop"),
        client.alloc(LONG, Memory::Shared).unwrap(),
    );
    let submission = client.submit(busy(&slow, &buffer)).unwrap();
    assert_eq!(
        submission.wait_timeout(Duration::ZERO).unwrap_err().code(),
        ErrorCode::Timeout
    );
    assert!(!submission.is_done().unwrap());
    let begun = Instant::now();
    assert_eq!(
        submission
            .wait_timeout(Duration::from_millis(20))
            .unwrap_err()
            .code(),
        ErrorCode::Timeout
    );
    assert!(begun.elapsed() >= Duration::from_millis(20));
    eventually("polling sees the end", || submission.is_done().unwrap());
    submission.wait_timeout(Duration::ZERO).unwrap();
    submission.wait().unwrap();
    submission.wait_timeout(Duration::MAX).unwrap();
}

#[test]
fn submits_can_be_awaited_with_any_executor() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let (slow, step) = (program(&client, "fma_loop"), affine(&client, 1, 1));
    let buffer = client.alloc(LONG / 16, Memory::Shared).unwrap();
    let counter = buffer_of(&client, Memory::Shared, &[0; 64]);
    let submissions: Vec<Submission> = (0..10)
        .flat_map(|_| {
            [
                client.submit(busy(&slow, &buffer)),
                client.submit(affine_over(&step, &counter)),
            ]
        })
        .collect::<Result<_, _>>()
        .unwrap();
    let tasks: Vec<_> = submissions
        .into_iter()
        .map(|submission| std::thread::spawn(move || block_on(submission)))
        .collect();
    for task in tasks {
        in_time("an awaited submit", PATIENCE, || task.join().unwrap()).unwrap();
    }
    assert_eq!(read_words(&counter), vec![10; 64]);
    block_on(async {
        for _ in 0..20 {
            client
                .submit(affine_over(&step, &counter))
                .unwrap()
                .await
                .unwrap();
        }
    });
    assert_eq!(read_words(&counter), vec![30; 64]);
}

#[test]
fn threads_share_one_connection() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let shared = buffer_of(&client, Memory::Shared, &[0; 64]);
    let step = affine(&client, 1, 1);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let adder = Adder::new(&client, 777).unwrap();
                for round in 0..20 {
                    adder.round(&client, round).unwrap();
                    let _submission = client.submit(affine_over(&step, &shared)).unwrap();
                }
            });
        }
    });
    assert_eq!(read_words(&shared), vec![120; 64]);
}

#[test]
fn daemon_and_engine_do_nothing_while_nobody_works() {
    let daemon = Daemon::start();
    let clients: Vec<_> = (0..32).map(|_| daemon.connect()).collect();
    Adder::new(&clients[0], 100)
        .unwrap()
        .round(&clients[0], 1)
        .unwrap();
    let mut all = daemon.process().descendants();
    all.push(daemon.process());
    let time = || {
        all.iter()
            .map(|process| process.processor_time())
            .sum::<Duration>()
    };
    // An engine parks after a while, not at once.
    let span = Duration::from_secs(1);
    let mut used = Duration::MAX;
    eventually("a second without work", || {
        let before = time();
        // What is measured is time itself.
        std::thread::sleep(span);
        used = time() - before;
        used < span / 200
    });
    let daemon_before = daemon.process().private_bytes();
    let more: Vec<_> = (0..128).map(|_| daemon.connect()).collect();
    let each = daemon
        .process()
        .private_bytes()
        .saturating_sub(daemon_before)
        / 128;
    assert!(
        each <= 64 * 1024,
        "{each} bytes of the daemon per idle client"
    );
    drop((clients, more));
}

#[test]
fn dropping_everything_gives_everything_back() {
    let daemon = Daemon::start();
    use_everything(&daemon).unwrap();
    let engine = daemon.engine();
    let state = || {
        // Compilers come and go on their own account.
        let compilers = daemon.compilers().len();
        (
            counted(daemon.process().descriptors()),
            engine.shared_mappings(),
            engine.descriptors().len(),
            compilers,
        )
    };
    let marker = daemon.log().mark();
    daemon.log().line_after(0, &["client disconnected", "test"]);
    eventually("only ledger and recorder are mapped by the engine", || {
        engine.shared_mappings() <= 2
    });
    let before = state();
    for _ in 0..20 {
        use_everything(&daemon).unwrap();
    }
    daemon.log().line_after(marker, &["client disconnected"]);
    let mut after = state();
    eventually(
        "descriptors and mappings are back to what they were",
        || {
            after = state();
            after == before
        },
    );
    assert_eq!(after, before);
    assert!(engine.is_alive());
}

/// A session that has some of everything.
fn use_everything(daemon: &Daemon) -> Result<(), vkmps::Error> {
    let client = daemon.connect();
    Adder::new(&client, 1000)?.round(&client, 3)?;
    let step = affine(&client, 3, 4);
    let alloc = |_| client.alloc(3 << 20, Memory::Device);
    let buffers = (0..10).map(alloc).collect::<Result<Vec<_>, _>>()?;
    let streams = (0..5)
        .map(|_| client.stream())
        .collect::<Result<Vec<_>, _>>()?;
    for (stream, buffer) in streams.iter().zip(&buffers) {
        let _submission = stream.submit(affine_over(&step, buffer))?;
    }
    block_on(client.submit(affine_over(&step, &buffers[9]))?)
}
