//! Clients that keep the rules and ask for as much as they can, while another one computes, checks every result and is
//! not kept waiting: its rounds are counted against what the flood gets done meanwhile.
#![forbid(unsafe_code)]

mod caps;
mod grids;
mod priorities;
mod streams;

use vkmps::Client;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::flood::Flood;
use vkmps_tests::patience::eventually;
use vkmps_tests::witness::Witness;

/// Asserts that the witness gets `rounds` more right results before the flood gets `submits` of its own done, and that
/// the flood is not kept from the device either.
fn expect_progress(witness: &Witness, flood: &Flood, rounds: u32, submits: u64) {
    eventually("the flood has begun", || {
        flood.finished() > 0 || flood.has_failed()
    });
    let (before, flooded) = (witness.rounds(), flood.finished());
    // One that was begun before it began counts for nothing.
    eventually("the witness gets its rounds beside the flood", || {
        witness.rounds() > before + rounds || flood.has_failed()
    });
    let meanwhile = flood.finished() - flooded;
    assert!(!flood.has_failed(), "the flood met an error");
    assert!(
        meanwhile <= submits,
        "{meanwhile} submits of a flood were over before {rounds} rounds of the witness"
    );
    let flooded = flood.finished();
    eventually("the flood goes on", || flood.finished() > flooded);
    witness.goes_on();
}

fn clients(daemon: &Daemon, count: usize) -> Vec<Client> {
    (0..count).map(|_| daemon.connect()).collect()
}
