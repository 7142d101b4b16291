//! Mistakes that the Rust client finds itself.

use std::time::Duration;
use vkmps::{Access, Dispatch, ErrorCode, Memory};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::{Adder, LONG, busy, program};
use vkmps_tests::patience::in_time;
use vkmps_tests::witness::Witness;

#[test]
fn the_rust_client_names_every_mistake_before_it_leaves_the_process() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let (client, other) = (daemon.connect(), daemon.connect());
    let add = program(&client, "vector_add");
    let alloc = || client.alloc(256, Memory::Shared).unwrap();
    let (a, b, c, foreign) = (
        alloc(),
        alloc(),
        alloc(),
        other.alloc(256, Memory::Shared).unwrap(),
    );
    let limit = client.device().max_groups[0];
    let n = 64_u32.to_le_bytes();
    let right = || Dispatch::new(&add, [1, 1, 1]).push(&n);
    let cases = [
        (right().read(&a).read(&b), ErrorCode::BindingMismatch),
        (
            right().read(&a).read(&b).write(&c).read(&a),
            ErrorCode::BindingMismatch,
        ),
        (
            right().read(&a).read(&b).read(&c),
            ErrorCode::BindingMismatch,
        ),
        (
            right().read(&a).read(&b).bind(0, 1, 0, &c, Access::Write),
            ErrorCode::BindingMismatch,
        ),
        (
            right().read(&a).read(&b).bind(1, 2, 0, &c, Access::Write),
            ErrorCode::BindingMismatch,
        ),
        (
            right().read(&a).read(&b).bind(0, 2, 1, &c, Access::Write),
            ErrorCode::BindingMismatch,
        ),
        (
            Dispatch::new(&add, [1, 1, 1]).read(&a).read(&b).write(&c),
            ErrorCode::PushConstantMismatch,
        ),
        (
            Dispatch::new(&add, [1, 1, 1])
                .push(&[0; 500])
                .read(&a)
                .read(&b)
                .write(&c),
            ErrorCode::PushConstantMismatch,
        ),
        (
            Dispatch::new(&add, [limit.saturating_add(1), 1, 1])
                .push(&n)
                .read(&a)
                .read(&b)
                .write(&c),
            ErrorCode::GroupCount,
        ),
        (
            Dispatch::new(&add, [1, u32::MAX, 1])
                .push(&n)
                .read(&a)
                .read(&b)
                .write(&c),
            ErrorCode::GroupCount,
        ),
        (
            right().read(&a).read(&foreign).write(&c),
            ErrorCode::InvalidHandle,
        ),
        (
            right().read(&a).read(b.slice(200, 100)).write(&c),
            ErrorCode::OutOfRange,
        ),
        (
            right().read(&a).read(b.slice(u64::MAX, 2)).write(&c),
            ErrorCode::OutOfRange,
        ),
        (
            right().read(&a).read(b.slice(8, u64::MAX)).write(&c),
            ErrorCode::OutOfRange,
        ),
        (
            right().read(&a).read(b.slice(1, 100)).write(&c),
            ErrorCode::InvalidArgument,
        ),
        (
            right().read(&a).read(b.slice(0, 0)).write(&c),
            ErrorCode::InvalidArgument,
        ),
    ];
    for (case, (dispatch, expected)) in cases.iter().enumerate() {
        let error = client.submit(dispatch).unwrap_err();
        assert_eq!(error.code(), *expected, "case {case}: {error}");
    }
    let batch = || client.default_stream().batch();
    let transfers = [
        (batch().copy(&a, b.slice(0, 8)), ErrorCode::InvalidArgument),
        (
            batch().copy(a.slice(0, 8), a.slice(4, 8)),
            ErrorCode::InvalidArgument,
        ),
        (batch().copy(&a, &foreign), ErrorCode::InvalidHandle),
        (
            batch().copy(a.slice(u64::MAX - 3, 8), &b),
            ErrorCode::OutOfRange,
        ),
        (batch().fill(a.slice(2, 8), 0), ErrorCode::InvalidArgument),
        (batch().fill(a.slice(252, 8), 0), ErrorCode::OutOfRange),
        (
            batch().update(a.slice(0, 8), &[0; 4]),
            ErrorCode::InvalidArgument,
        ),
    ];
    for (case, (batch, expected)) in transfers.into_iter().enumerate() {
        let error = batch.submit().unwrap_err();
        assert_eq!(error.code(), expected, "transfer {case}: {error}");
    }
    // Groups of zero are legal and do nothing; nothing that failed left a trace.
    for groups in [[0, 1, 1], [1, 0, 1], [0, 0, 0]] {
        let nothing = Dispatch::new(&add, groups)
            .push(&n)
            .read(&a)
            .read(&b)
            .write(&c);
        client.submit(nothing).unwrap().wait().unwrap();
    }
    Adder::new(&client, 64).unwrap().round(&client, 1).unwrap();
    in_time("leaving", Duration::from_secs(5), move || {
        drop((a, b, c, add, client))
    });
    witness.goes_on();
}

#[test]
fn submits_that_pile_up_behind_long_kernels_are_refused_beyond_a_limit() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let client = daemon.connect();
    let fma = program(&client, "fma_loop");
    let long = client.alloc(LONG, Memory::Shared).unwrap();
    let target = client.alloc(65_536, Memory::Shared).unwrap();
    let kernels: Vec<_> = (0..8)
        .map(|_| client.submit(busy(&fma, &long)).unwrap())
        .collect();
    // 20 submits of 3.75 MiB, all at once: a single thread would take longer than the kernels.
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let submit = |_| {
            scope.spawn(|| {
                let stream = client.stream().unwrap();
                let data = [7; 65_536];
                let mut batch = stream.batch();
                for _ in 0..60 {
                    batch = batch.update(&target, &data);
                }
                batch.submit().unwrap().wait().map_err(|error| error.code())
            })
        };
        let threads: Vec<_> = (0..20).map(submit).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let refused = |outcome: &&Result<(), ErrorCode>| **outcome == Err(ErrorCode::LimitReached);
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(
        outcomes.iter().any(|outcome| refused(&outcome)),
        "{outcomes:?}"
    );
    assert_eq!(
        done + outcomes.iter().filter(refused).count(),
        20,
        "{outcomes:?}"
    );
    for kernel in kernels {
        kernel.wait().unwrap();
    }
    Adder::new(&client, 1000)
        .unwrap()
        .round(&client, 1)
        .unwrap();
    witness.goes_on();
}
