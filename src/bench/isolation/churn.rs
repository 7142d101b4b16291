//! Clients that allocate, compute, and are killed at any moment.

use super::leftovers::{self, Left, Standing};
use crate::alloc::is_refusal;
use crate::bench::Bench;
use crate::chance::Chance;
use crate::crew::{Member, inside};
use crate::error::Error;
use crate::private_daemon::PrivateDaemon;
use crate::progress;
use crate::worker::Task;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use vkmps::{Buffer, Client, Memory};

pub(super) struct Plan {
    /// So many die at least.
    pub(super) deaths: usize,
    /// So many live at a time.
    pub(super) alive: usize,
    /// It takes so long at least.
    pub(super) duration: Duration,
    pub(super) seed: u64,
    /// Whose they are, if not ours.
    pub(super) uid: Option<u32>,
}

pub(super) struct Outcome {
    pub(super) deaths: usize,
    pub(super) left: Left,
}

/// Starts clients and kills them, one at a time, evenly over the duration.
pub(super) fn run(bench: &Bench, daemon: &PrivateDaemon, plan: &Plan) -> Result<Outcome, Error> {
    let mut chance = Chance::of(plan.seed);
    let start = |chance: &mut Chance| {
        let task = Task::Victim(Victim {
            socket: daemon.socket().to_owned(),
            seed: chance.next(),
        });
        Member::start_as(bench, &task, plan.uid)
    };
    // What the first clients leave for good is the drivers': compiled shaders, pools of threads.
    let mut first: Vec<Member> = (0..plan.alive)
        .map(|_| start(&mut chance))
        .collect::<Result<_, _>>()?;
    for member in &mut first {
        member.expect_ready()?;
    }
    thread::sleep(WARM_UP);
    drop(first);
    let before = Standing::settled(daemon.pid())?;
    let step = plan.duration / u32::try_from(plan.deaths).unwrap_or(u32::MAX);
    let (begun, mut deaths) = (Instant::now(), 0);
    let mut alive: Vec<Member> = Vec::new();
    while deaths < plan.deaths || begun.elapsed() < plan.duration {
        progress::show(&format!("{deaths} of {} clients killed", plan.deaths));
        while alive.len() < plan.alive {
            alive.push(start(&mut chance)?);
        }
        thread::sleep(step);
        let mut killed = alive.swap_remove(chance.place(alive.len()));
        if killed.has_ended()? {
            return Err(Error::WorkerDied);
        }
        // SIGKILL, wherever it is.
        drop(killed);
        deaths += 1;
    }
    drop(alive);
    let left = leftovers::after(bench, daemon, &before, plan.uid)?;
    progress::clear();
    Ok(Outcome { deaths, left })
}

/// A client that does not know when it dies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Victim {
    socket: PathBuf,
    seed: u64,
}

impl Victim {
    pub(crate) fn run(self) -> Result<(), Error> {
        let client = Client::builder()
            .socket(&self.socket)
            .name("vkmps-bench victim")
            .connect()?;
        inside::ready()?;
        let mut chance = Chance::of(self.seed);
        let mut held = Vec::new();
        loop {
            step(&client, &mut chance, &mut held, MOST_BYTES)?;
        }
    }
}

/// Allocates, fills, frees or reads something; what limits and lack of memory refuse is no error.
pub(super) fn step(
    client: &Client,
    chance: &mut Chance,
    held: &mut Vec<Buffer>,
    most: u64,
) -> Result<(), Error> {
    let outcome = match chance.below(8) {
        0..4 => allocate(client, chance, held, most),
        4 | 5 if !held.is_empty() => {
            held.swap_remove(chance.place(held.len()));
            Ok(())
        }
        6 if !held.is_empty() => {
            let buffer = &held[chance.place(held.len())];
            buffer.read(0, &mut [0; 8])
        }
        _ => {
            thread::sleep(Duration::from_micros(chance.below(2000)));
            Ok(())
        }
    };
    if held.len() > HELD {
        held.clear();
    }
    match outcome {
        Err(error) if !is_refusal(error.code()) => Err(error.into()),
        _ => Ok(()),
    }
}

fn allocate(
    client: &Client,
    chance: &mut Chance,
    held: &mut Vec<Buffer>,
    most: u64,
) -> Result<(), vkmps::Error> {
    let memory = [Memory::Device, Memory::Shared][chance.place(2)];
    let buffer = client.alloc(chance.size(most), memory)?;
    // Work that may be in flight at the end; nobody waits for it.
    let batch = client.default_stream().batch();
    let _submission = batch.fill(&buffer, MARK).submit()?;
    held.push(buffer);
    Ok(())
}

/// What other clients than the checker write everywhere.
pub(super) const MARK: u32 = 0xA5A5_A5A5;
const WARM_UP: Duration = Duration::from_millis(500);
const MOST_BYTES: u64 = 16 << 20;
const HELD: usize = 32;
