//! Grids of every size.

use crate::{clients, expect_progress};
use vkmps::{Client, Dispatch, Memory};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::flood::Flood;
use vkmps_tests::kernels::{LONG, affine, affine_over, buffer_of, busy, program};
use vkmps_tests::witness::Witness;

#[test]
fn a_flood_of_dispatches_of_one_workgroup_keeps_nobody_waiting() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let flood = Flood::of(clients(&daemon, 4), 8, |client| vec![tiny(client)]);
    // 32 streams with an own place in every level, and levels of a few hundred.
    expect_progress(&witness, &flood, 20, 20 * 20_000);
}

#[test]
fn a_flood_of_the_largest_grids_keeps_nobody_waiting() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let flood = Flood::of(clients(&daemon, 2), 4, |client| vec![largest(client)]);
    expect_progress(&witness, &flood, 10, 10 * 32);
}

#[test]
fn huge_and_tiny_kernels_in_turn_keep_nobody_waiting() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let flood = Flood::of(clients(&daemon, 2), 3, |client| {
        vec![huge(client), tiny(client), largest(client), tiny(client)]
    });
    expect_progress(&witness, &flood, 10, 10 * 48);
}

/// One workgroup.
pub(super) fn tiny(client: &Client) -> Dispatch {
    let buffer = buffer_of(client, Memory::Shared, &[0; 64]);
    affine_over(&affine(client, 1, 1), &buffer)
}

/// As many workgroups as the device allows in x, a few times over; most of them have nothing to do.
fn largest(client: &Client) -> Dispatch {
    let buffer = buffer_of(client, Memory::Shared, &[0; 64]);
    let [x, y, _] = client.device().max_groups;
    Dispatch::new(&affine(client, 1, 1), [x, y.min(4), 1])
        .push(&64_u32.to_le_bytes())
        .read_write(&buffer)
}

/// Tens of milliseconds of arithmetic in 16 workgroups.
pub(super) fn huge(client: &Client) -> Dispatch {
    let slow = program(client, "fma_loop");
    let buffer = client.alloc(LONG / 16, Memory::Shared);
    busy(
        &slow,
        &buffer.unwrap_or_else(|error| panic!("allocating: {error}")),
    )
}
