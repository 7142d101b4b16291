//! Who gets which part of the device: clients with unequal kernels, users with unequal numbers of clients.
//!
//! A client's share is measured in the client: work done per second over what it does with the daemon for itself. Equal
//! clients have equal shares, whatever their kernels take; Jain's index over them is 1 if so, and 1/n if one has all.

use crate::arguments::FairnessOptions;
use crate::backend::Place;
use crate::bench::{Bench, Daemon, Threads};
use crate::crew::Crew;
use crate::error::Error;
use crate::figures::median;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::throughput::{Client, Kernel, Outcome};
use crate::worker::Task;
use std::cell::RefCell;
use std::collections::HashMap;

pub(crate) fn run(options: &FairnessOptions) -> Result<(), Error> {
    let common = &options.common;
    let bench = Bench::new(common, Threads::All)?;
    let daemon = bench.daemon(common.socket.as_deref())?;
    let kernels = choose_kernels(&bench, options.kernel_ms)?;
    let contest = Contest {
        bench: &bench,
        kernels,
        depth: common.depth.max(1),
        seconds: common.seconds,
        solo: RefCell::default(),
        kept: RefCell::default(),
    };
    let users = match &daemon {
        Daemon::Private(daemon) if nix::unistd::geteuid().is_root() => {
            daemon.admit_everybody()?;
            true
        }
        _ => false,
    };
    let counts = common
        .clients
        .map_or(COUNTS.to_vec(), |count| vec![count.max(2)]);
    let (place, direct) = (daemon.place(), bench.direct());
    let mut arms = Vec::new();
    for count in &counts {
        let (contest, place, direct) = (&contest, &place, &direct);
        let (here, there) = (format!("daemon {count}"), format!("separate {count}"));
        arms.push(Arm::new(here, move || {
            contest.clients(place, "daemon", *count)
        }));
        arms.push(Arm::new(there, move || {
            contest.clients(direct, "separate", *count)
        }));
    }
    if users {
        arms.push(Arm::new("users 1:7", || contest.users(&place)));
    }
    let samples = interleave(&mut arms, common.rounds)?;
    let names: Vec<String> = arms.iter().map(|arm| arm.name.clone()).collect();
    drop(arms);
    let rows = names.iter().zip(&samples).map(|(name, rounds)| {
        let (count, unit) = match name.rsplit_once(' ') {
            Some((_, count)) if name != "users 1:7" => (count.parse().unwrap_or(0), "jain"),
            _ => (8, "share of the one"),
        };
        Row::of("fairness", name.as_str(), unit, rounds).with(count, contest.depth)
    });
    let mut report = Report::new("fairness", rows.collect());
    let least = |place: &str| {
        let jains = counts
            .iter()
            .filter_map(|count| report.row(&format!("{place} {count}")));
        jains.map(|row| row.value).fold(f64::INFINITY, f64::min)
    };
    let (jain, separate) = (least("daemon"), least("separate"));
    report.put_ratio("jain", jain);
    report.put_ratio("jain_separate", separate);
    for (name, sums) in contest.kept.borrow().iter() {
        report.put_ratio(&format!("kept {name}"), median(sums).unwrap_or(f64::NAN));
    }
    if let Some(row) = report.row("users 1:7") {
        let share = row.value;
        report.put_ratio("user_share", share);
    } else {
        report.note("users 1:7", "skipped: needs root and a private daemon");
    }
    report.note("kernels", serde_json::to_value(contest.kernels)?);
    report.note("kept", "sum of all shares: 1 if sharing costs nothing");
    report.print(&bench, common)
}

/// Four kernels of the same program, up to eight times as long as the first.
fn choose_kernels(bench: &Bench, milliseconds: f64) -> Result<[Kernel; 4], Error> {
    // On a GPU each must fill the device, or they would not get into each other's way.
    let groups = if bench.device.cpu { 8 } else { 2112 };
    let task = Task::Calibrate {
        place: bench.direct(),
        kernel: Kernel::fma(groups, 1000),
        milliseconds,
    };
    let mut found = Crew::prepare(bench, &[task])?.measure::<u32>()?;
    let iterations = found.pop().ok_or(Error::WorkerDied)?;
    Ok([1, 8, 2, 4].map(|times| Kernel::fma(groups * times, iterations)))
}

struct Contest<'a> {
    bench: &'a Bench,
    kernels: [Kernel; 4],
    depth: usize,
    seconds: f64,
    /// Rates of each kernel alone, by the place's name.
    solo: RefCell<HashMap<&'static str, Vec<f64>>>,
    /// Sums of the shares of each arm's rounds.
    kept: RefCell<HashMap<String, Vec<f64>>>,
}

impl Contest<'_> {
    /// Jain's index of clients whose kernels take turns in length.
    fn clients(&self, place: &Place, name: &'static str, count: usize) -> Result<Sample, Error> {
        let solo = self.solo(place, name)?;
        let kinds: Vec<usize> = (0..count).map(|index| index % self.kernels.len()).collect();
        let tasks: Vec<Task> = kinds.iter().map(|kind| self.task(place, *kind)).collect();
        let outcomes = Crew::prepare(self.bench, &tasks)?.measure::<Outcome>()?;
        let shares = kinds.iter().zip(&outcomes);
        let shares: Vec<f64> = shares
            .map(|(kind, outcome)| outcome.rate() / solo[*kind])
            .collect();
        let sums = format!("{name} {count}");
        let mut kept = self.kept.borrow_mut();
        kept.entry(sums).or_default().push(shares.iter().sum());
        Ok(sample(jain(&shares)))
    }

    /// The part that a user with one client has beside a user with seven.
    fn users(&self, place: &Place) -> Result<Sample, Error> {
        let task = self.task(place, 2);
        let uids = std::iter::once(USERS[0]).chain([USERS[1]; 7]);
        let tasks = uids.map(|uid| (&task, Some(uid)));
        let outcomes = Crew::prepare_as(self.bench, tasks)?.measure::<Outcome>()?;
        let rates: Vec<f64> = outcomes.iter().map(Outcome::rate).collect();
        Ok(sample(rates[0] / rates.iter().sum::<f64>()))
    }

    fn solo(&self, place: &Place, name: &'static str) -> Result<Vec<f64>, Error> {
        if let Some(solo) = self.solo.borrow().get(name) {
            return Ok(solo.clone());
        }
        let mut rates = Vec::new();
        for kind in 0..self.kernels.len() {
            let task = self.task(place, kind);
            let mut found = Crew::prepare(self.bench, &[task])?.measure::<Outcome>()?;
            rates.push(found.pop().ok_or(Error::WorkerDied)?.rate());
        }
        self.solo.borrow_mut().insert(name, rates.clone());
        Ok(rates)
    }

    fn task(&self, place: &Place, kind: usize) -> Task {
        Task::Throughput(Client {
            place: place.clone(),
            kernel: self.kernels[kind],
            depth: self.depth,
            seconds: self.seconds,
        })
    }
}

fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    sum * sum / (values.len() as f64 * squares)
}

fn sample(value: f64) -> Sample {
    Sample {
        value,
        p50_us: None,
        p99_us: None,
    }
}

const COUNTS: [usize; 3] = [2, 8, 32];
/// Nobody's, as far as Debian is concerned: between its dynamic users and those of systemd.
const USERS: [u32; 2] = [59_901, 59_902];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_one_for_equals_and_a_part_for_one_who_has_all() {
        assert!((jain(&[3.0, 3.0, 3.0]) - 1.0).abs() < 1e-9);
        assert!((jain(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
    }
}
