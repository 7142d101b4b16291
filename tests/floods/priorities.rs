//! Priorities that are asked for to get more than the others.

use crate::expect_progress;
use crate::grids::{huge, tiny};
use vkmps::{Client, Priority};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::flood::Flood;
use vkmps_tests::witness::Witness;

#[test]
fn a_flood_of_high_priority_does_not_starve_a_low_one() {
    let daemon = Daemon::start();
    let witness = Witness::with(ranked(&daemon, Priority::Low));
    let highs = (0..3).map(|_| ranked(&daemon, Priority::High));
    let flood = Flood::of(highs, 4, |client| vec![tiny(client)]);
    expect_progress(&witness, &flood, 5, 5 * 200_000);
}

#[test]
fn a_flood_of_long_kernels_of_low_priority_keeps_a_high_one_from_nothing() {
    let daemon = Daemon::start();
    let witness = Witness::with(ranked(&daemon, Priority::High));
    let lows = (0..4).map(|_| ranked(&daemon, Priority::Low));
    let flood = Flood::of(lows, 2, |client| vec![huge(client)]);
    // Of each of the eight streams at most what is in flight when a round begins.
    expect_progress(&witness, &flood, 10, 10 * 8 * 2);
}

fn ranked(daemon: &Daemon, priority: Priority) -> Client {
    let client = Client::builder().socket(daemon.socket()).priority(priority);
    client
        .connect()
        .unwrap_or_else(|error| panic!("connecting: {error}"))
}
