//! Streams and clients without number.

use crate::grids::tiny;
use crate::{clients, expect_progress};
use std::sync::atomic::{AtomicBool, Ordering};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::flood::Flood;
use vkmps_tests::kernels::Adder;
use vkmps_tests::witness::Witness;

#[test]
fn thousands_of_streams_keep_nobody_waiting() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    // All that a session may have but the default one.
    let flood = Flood::of(clients(&daemon, 9), 255, |client| vec![tiny(client)]);
    expect_progress(&witness, &flood, 10, 10 * 40_000);
}

#[test]
fn clients_that_come_and_go_with_work_queued_keep_nobody_waiting() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let client = daemon.connect();
                    let dispatch = tiny(&client);
                    for _ in 0..100 {
                        let _submission = client.submit(&dispatch).unwrap();
                    }
                }
            });
        }
        (0..5).for_each(|_| witness.goes_on());
        stop.store(true, Ordering::Release);
    });
    let client = daemon.connect();
    let adder = Adder::new(&client, 1000).unwrap();
    (0..10).for_each(|round| adder.round(&client, round).unwrap());
}
