//! What the daemon and its children hold, and what of a user's memory is not to be had again.

use super::USER_BYTES;
use crate::bench::Bench;
use crate::crew::{Crew, inside};
use crate::error::Error;
use crate::private_daemon::PrivateDaemon;
use crate::process::{self, Holdings};
use crate::worker::Task;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use vkmps::{Client, Memory};

/// Holdings of the daemon, its engine and what else lives as long.
pub(super) struct Standing {
    pids: Vec<u32>,
    holdings: Holdings,
}

/// More than before, after all clients are gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    bytes: u64,
    more: Holdings,
}

impl Left {
    pub(super) fn any(&self) -> bool {
        self.rows().any(|(_, count)| count > 0.0)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let Holdings {
            descriptors,
            mappings,
            threads,
        } = self.more;
        [
            ("bytes", self.bytes as f64),
            ("descriptors", descriptors as f64),
            ("mappings", mappings as f64),
            ("threads", threads as f64),
        ]
        .into_iter()
    }
}

impl Standing {
    /// Once nothing has changed for a while.
    pub(super) fn settled(daemon: u32) -> Result<Self, Error> {
        let deadline = Instant::now() + PATIENCE;
        let look = || {
            let pids = process::family(daemon);
            let holdings = process::holdings(&pids);
            Self { pids, holdings }
        };
        let mut last = look();
        loop {
            thread::sleep(LOOK_AGAIN);
            let now = look();
            if (&now.pids, now.holdings) == (&last.pids, last.holdings) {
                return Ok(now);
            }
            if Instant::now() > deadline {
                return Err(Error::Usage("the daemon never comes to rest"));
            }
            last = now;
        }
    }
}

/// Waits until everything is as before, and says what is not in the end.
pub(super) fn after(
    bench: &Bench,
    daemon: &PrivateDaemon,
    before: &Standing,
    uid: Option<u32>,
) -> Result<Left, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = Standing::settled(daemon.pid())?;
        if now.pids != before.pids {
            return Err(Error::Wrong("an engine died with its clients".to_owned()));
        }
        let more = now.holdings.beyond(before.holdings);
        let task = Task::Claimant(Claimant {
            socket: daemon.socket().to_owned(),
        });
        let crew = Crew::prepare_as(bench, [(&task, uid)])?;
        let had = crew.measure::<u64>()?.pop().ok_or(Error::WorkerDied)?;
        let left = Left {
            bytes: USER_BYTES - had,
            more,
        };
        if !left.any() || Instant::now() > deadline {
            return Ok(left);
        }
    }
}

/// A client that takes all that its user may have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claimant {
    socket: PathBuf,
}

impl Claimant {
    /// Says how much there was, of the class that had less.
    pub(crate) fn run(self) -> Result<(), Error> {
        let builder = || Client::builder().socket(&self.socket);
        let client = builder().name("vkmps-bench claimant").connect()?;
        inside::line_up()?;
        for memory in [Memory::Device, Memory::Shared] {
            if client.alloc(USER_BYTES + STEP, memory).is_ok() {
                return Err(Error::Wrong("a user has more than its limit".to_owned()));
            }
        }
        let most = |memory| {
            let sizes = (1..=USER_BYTES / STEP).rev().map(|steps| steps * STEP);
            sizes
                .into_iter()
                .find(|bytes| client.alloc(*bytes, memory).is_ok())
                .unwrap_or(0)
        };
        let had = most(Memory::Device).min(most(Memory::Shared));
        inside::say(&had)
    }
}

const STEP: u64 = 1 << 20;
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);
