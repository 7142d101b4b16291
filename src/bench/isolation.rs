//! What is left of clients that were killed, and whether anybody ever sees another one's bytes.

mod attack;
mod checker;
mod churn;
mod leftovers;

use crate::arguments::IsolationOptions;
use crate::bench::{Bench, Daemon, Threads};
use crate::error::Error;
use crate::report::{Report, Row, Sample};
use std::time::Duration;

pub(crate) use attack::Attacker;
pub(crate) use checker::Checker;
pub(crate) use churn::Victim;
pub(crate) use leftovers::Claimant;

pub(crate) fn run(options: &IsolationOptions) -> Result<(), Error> {
    let common = &options.common.or(1, 60.0);
    if common.socket.is_some() {
        return Err(Error::Usage(
            "isolation measures a private daemon: leave --socket away",
        ));
    }
    let bench = Bench::new(common, Threads::None)?;
    let Daemon::Private(daemon) = bench.daemon_with(None, LIMITS)? else {
        return Err(Error::Usage("isolation measures a private daemon"));
    };
    let root = nix::unistd::geteuid().is_root();
    if root {
        daemon.admit_everybody()?;
    }
    let duration = Duration::from_secs_f64(common.seconds());
    let churn = churn::run(
        &bench,
        &daemon,
        &churn::Plan {
            deaths: common.clients.unwrap_or(1000).max(1),
            alive: options.alive.max(1),
            duration,
            seed: options.seed,
            uid: root.then_some(USERS[0]),
        },
    )?;
    let mut rows = vec![row("churn", "clients killed", churn.deaths as f64)];
    rows.extend(
        churn
            .left
            .rows()
            .map(|(what, count)| row(what, "left", count)),
    );
    let attack = match root {
        true => Some(attack::run(
            &bench,
            &daemon,
            &attack::Plan {
                duration,
                bytes: options.checked_mib << 20,
                seed: options.seed,
                uids: &USERS[1..],
            },
        )?),
        false => None,
    };
    if let Some(attack) = &attack {
        let found = attack.found;
        rows.push(row("attackers", "killed", attack.deaths as f64));
        rows.push(row(
            "checked",
            "MiB",
            found.checked_bytes as f64 / 1_048_576.0,
        ));
        rows.push(row("foreign", "bytes", found.foreign_bytes as f64));
    }
    let mut report = Report::new("isolation", rows);
    for (what, count) in churn.left.rows() {
        report.put_ratio(&format!("left_{what}"), count);
    }
    let mut wrong = churn.left.any();
    match &attack {
        Some(attack) => {
            let found = attack.found;
            report.put_ratio("foreign_bytes", found.foreign_bytes as f64);
            report.put_ratio("checked_gib", found.checked_bytes as f64 / 1_073_741_824.0);
            wrong |= found.foreign_bytes > 0;
        }
        None => report.note("attack", "skipped: other users' processes need root"),
    }
    report.note("seed", options.seed);
    report.note("churn", "as root by another user, else by oneself");
    report.print(&bench, common)?;
    match wrong {
        true => Err(Error::Wrong("see what is left, or foreign".to_owned())),
        false => Ok(()),
    }
}

fn row(arm: &str, unit: &'static str, value: f64) -> Row {
    let sample = Sample {
        value,
        p50_us: None,
        p99_us: None,
    };
    Row::of("isolation", arm, unit, &[sample])
}

/// So that what a user has can be found out: all of it can be had again.
const LIMITS: &str = "[limits]\nuser-memory = \"256M\"\n";
/// As [`LIMITS`] says.
const USER_BYTES: u64 = 256 << 20;
/// Nobody's, as far as Debian is concerned: who is killed, who checks, and eight that attack.
const USERS: [u32; 10] = [
    59_910, 59_911, 59_912, 59_913, 59_914, 59_915, 59_916, 59_917, 59_918, 59_919,
];
