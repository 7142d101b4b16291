//! Users that do what they can to get at another one's bytes, or to fill the device with their own.

use super::checker::{Checker, Found};
use super::churn::step;
use crate::bench::Bench;
use crate::chance::Chance;
use crate::crew::{Member, inside};
use crate::error::Error;
use crate::private_daemon::PrivateDaemon;
use crate::progress;
use crate::worker::Task;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use vkmps::{Client, Memory};

pub(super) struct Plan<'a> {
    pub(super) duration: Duration,
    /// The checker looks at so many at least.
    pub(super) bytes: u64,
    pub(super) seed: u64,
    /// Who checks, and those who attack.
    pub(super) uids: &'a [u32],
}

pub(super) struct Outcome {
    pub(super) deaths: usize,
    pub(super) found: Found,
}

/// One user checks while each of the others has a client that is killed again and again.
pub(super) fn run(
    bench: &Bench,
    daemon: &PrivateDaemon,
    plan: &Plan<'_>,
) -> Result<Outcome, Error> {
    let (checker, attackers) = plan.uids.split_first().ok_or(Error::WorkerDied)?;
    let mut chance = Chance::of(plan.seed);
    let task = Task::Checker(Checker {
        socket: daemon.socket().to_owned(),
        seed: chance.next(),
        seconds: plan.duration.as_secs_f64(),
        bytes: plan.bytes,
    });
    let mut checker = Member::start_as(bench, &task, Some(*checker))?;
    checker.expect_ready()?;
    let start = |uid: &u32, chance: &mut Chance| {
        let task = Task::Attacker(Attacker {
            socket: daemon.socket().to_owned(),
            seed: chance.next(),
            limit_mib: 1 + chance.below(128),
        });
        Ok::<_, Error>((Member::start_as(bench, &task, Some(*uid))?, *uid))
    };
    let mut alive = attackers
        .iter()
        .map(|uid| start(uid, &mut chance))
        .collect::<Result<Vec<_>, _>>()?;
    checker.order(&0_u64)?;
    let mut deaths = 0;
    while !checker.answers_within(Duration::from_millis(20 + chance.below(60)))? {
        progress::show(&format!("checking; {deaths} attackers killed"));
        let (mut killed, uid) = alive.swap_remove(chance.place(alive.len()));
        if killed.has_ended()? {
            return Err(Error::WorkerDied);
        }
        drop(killed);
        deaths += 1;
        alive.push(start(&uid, &mut chance)?);
    }
    let found = checker.answer()?;
    checker.finish()?;
    progress::clear();
    Ok(Outcome { deaths, found })
}

/// A client that writes its mark wherever it can.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attacker {
    socket: PathBuf,
    seed: u64,
    /// What it says at connect that it is content with.
    limit_mib: u64,
}

impl Attacker {
    /// What the client reads from its environment.
    pub(crate) fn environment(&self) -> (&'static str, String) {
        ("VKMPS_DEVICE_MEM_LIMIT", format!("{}M", self.limit_mib))
    }

    pub(crate) fn run(self) -> Result<(), Error> {
        let client = Client::builder()
            .socket(&self.socket)
            .name("vkmps-bench attacker")
            .connect()?;
        inside::ready()?;
        let mut chance = Chance::of(self.seed);
        let mut held = Vec::new();
        loop {
            if chance.below(16) == 0 {
                // Absurd sizes, refused one way or another.
                let _refused = client.alloc(u64::MAX >> chance.below(40), Memory::Device);
            }
            step(&client, &mut chance, &mut held, MOST_BYTES)?;
        }
    }
}

const MOST_BYTES: u64 = 64 << 20;
