//! Who gets which part of the device: clients with unequal kernels, users with unequal numbers of clients.
//!
//! A client's share is measured in the client: work done per second, while all others submit too, over what a client
//! alone does with such kernels. Equal clients have equal shares, whatever their kernels take; Jain's index over them is
//! 1 if so, and 1/n if one has all.

use crate::arguments::FairnessOptions;
use crate::backend::Place;
use crate::bench::{Bench, Daemon, Threads};
use crate::crew::Crew;
use crate::error::Error;
use crate::figures::median;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::size;
use crate::throughput::{Client, Kernel, Outcome, Pace};
use crate::worker::Task;
use std::ops::Range;
use std::time::Duration;

pub(crate) fn run(options: &FairnessOptions) -> Result<(), Error> {
    let common = &options.common.or(DEPTH, 2.0);
    let bench = Bench::new(common, Threads::All)?;
    let daemon = bench.daemon(common.socket.as_deref())?;
    let contest = Contest {
        bench: &bench,
        kernels: choose_kernels(&bench, options.kernel_ms)?,
        depth: common.depth(),
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
    let plan = plan(&counts, users);
    let arm = |part: &Part| {
        let (contest, part) = (&contest, *part);
        let place = if part.shared { &place } else { &direct };
        Arm::new(part.name(), move || {
            contest.rates(place, part, common.seconds())
        })
    };
    let mut arms: Vec<Arm<'_, Vec<f64>>> = plan.iter().map(arm).collect();
    let rates = interleave(&mut arms, common.rounds)?;
    drop(arms);
    let found = Found {
        plan: &plan,
        rates: &rates,
    };
    let mut rows = Vec::new();
    for (part, rounds) in plan.iter().zip(&rates) {
        rows.push(found.row(part, rounds, contest.depth));
        if options.verbose && part.crowd != Crowd::Users {
            rows.extend(found.rows_of_clients(part, rounds, contest.depth));
        }
    }
    let mut report = Report::new("fairness", rows);
    found.compare(&mut report, &counts);
    if !users {
        report.note("users 1:7", "skipped: needs root and a private daemon");
    }
    report.note("kernels", serde_json::to_value(contest.kernels)?);
    report.note("kept", "sum of all shares: 1 if sharing costs nothing");
    report.print(&bench, common)
}

/// What is measured in every round: each kernel alone, then crowds.
fn plan(counts: &[usize], users: bool) -> Vec<Part> {
    let mut plan = Vec::new();
    for shared in [true, false] {
        plan.extend((0..KINDS.len()).map(|kind| Part {
            shared,
            crowd: Crowd::Alone(kind),
        }));
    }
    for count in counts {
        plan.extend([true, false].map(|shared| Part {
            shared,
            crowd: Crowd::Clients(*count),
        }));
    }
    if users {
        plan.push(Part {
            shared: true,
            crowd: Crowd::Users,
        });
    }
    plan
}

/// One measurement of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// By the daemon; else each has a device of its own.
    shared: bool,
    crowd: Crowd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    /// One client with the kernel of a kind.
    Alone(usize),
    /// So many equal clients whose kernels take turns in length.
    Clients(usize),
    /// A user with one client beside one with seven, with equal kernels.
    Users,
}

impl Part {
    fn name(self) -> String {
        let place = if self.shared { "daemon" } else { "separate" };
        match self.crowd {
            Crowd::Alone(kind) => format!("{place} x{} alone", KINDS[kind]),
            Crowd::Clients(count) => format!("{place} {count}"),
            Crowd::Users => "users 1:7".to_owned(),
        }
    }

    /// The kind of kernel that each client has.
    fn kinds(self) -> Vec<usize> {
        match self.crowd {
            Crowd::Alone(kind) => vec![kind],
            Crowd::Clients(count) => (0..count).map(|index| index % KINDS.len()).collect(),
            Crowd::Users => vec![USERS_KIND; 8],
        }
    }
}

/// Kernels of the same program, up to eight times as long as the first.
fn choose_kernels(bench: &Bench, milliseconds: f64) -> Result<[Kernel; 4], Error> {
    // On a GPU each fills the device, or they would not get into each other's way.
    let first = size::kernel(bench, GROUPS, milliseconds)?;
    Ok(KINDS.map(|times| Kernel::fma(first.groups * times, first.iterations)))
}

struct Contest<'a> {
    bench: &'a Bench,
    kernels: [Kernel; 4],
    depth: usize,
}

impl Contest<'_> {
    /// What each client does per second.
    fn rates(&self, place: &Place, part: Part, seconds: f64) -> Result<Vec<f64>, Error> {
        // Alone, a rate is found sooner.
        let seconds = match part.crowd {
            Crowd::Alone(_) => seconds / 2.0,
            _ => seconds,
        };
        let kinds = part.kinds();
        let tasks: Vec<Task> = kinds
            .iter()
            .map(|kind| {
                Task::Throughput(Client {
                    place: place.clone(),
                    kernel: self.kernels[*kind],
                    depth: self.depth,
                    seconds,
                    pace: Pace::AtOnce,
                })
            })
            .collect();
        let uids = (0..tasks.len()).map(|index| match part.crowd {
            Crowd::Users => Some(USERS[usize::from(index > 0)]),
            _ => None,
        });
        let crew = Crew::prepare_as(self.bench, tasks.iter().zip(uids))?;
        let outcomes = crew.measure::<Outcome>()?;
        let window = steady(seconds);
        let rate = |outcome: &Outcome| outcome.rate_within(window.clone());
        Ok(outcomes.iter().map(rate).collect())
    }
}

/// The part of a run in which everybody submits, in hundredths of a second.
fn steady(seconds: f64) -> Range<usize> {
    let hundredths = Duration::from_secs_f64(seconds).as_millis() / 10;
    let hundredths = usize::try_from(hundredths).unwrap_or(usize::MAX);
    let start = hundredths / 10;
    start..(hundredths - hundredths / 20).max(start + 1)
}

/// The rates of all parts, round by round.
struct Found<'a> {
    plan: &'a [Part],
    rates: &'a [Vec<Vec<f64>>],
}

impl Found<'_> {
    /// What one client alone does per second, the median of all rounds.
    fn alone(&self, shared: bool, kind: usize) -> f64 {
        let crowd = Crowd::Alone(kind);
        let parts = self.plan.iter().zip(self.rates);
        let rates: Vec<f64> = parts
            .filter(|(part, _)| **part == Part { shared, crowd })
            .flat_map(|(_, rounds)| rounds.iter().flatten().copied())
            .collect();
        median(&rates).unwrap_or(f64::NAN)
    }

    /// Each client's part of what it would do alone, in one round.
    fn shares(&self, part: Part, rates: &[f64]) -> Vec<f64> {
        let kinds = part.kinds();
        let pairs = kinds.iter().zip(rates);
        pairs
            .map(|(kind, rate)| rate / self.alone(part.shared, *kind))
            .collect()
    }

    fn row(&self, part: &Part, rounds: &[Vec<f64>], depth: usize) -> Row {
        let unit = match part.crowd {
            Crowd::Alone(_) => "dispatches/s",
            Crowd::Clients(_) => "jain",
            Crowd::Users => "share of the one",
        };
        let value = |rates: &Vec<f64>| match part.crowd {
            Crowd::Alone(_) => rates.iter().sum(),
            Crowd::Clients(_) => jain(&self.shares(*part, rates)),
            Crowd::Users => rates[0] / rates.iter().sum::<f64>(),
        };
        let samples: Vec<Sample> = rounds.iter().map(|rates| sample(value(rates))).collect();
        let row = Row::of("fairness", part.name(), unit, &samples);
        row.with(part.kinds().len(), depth)
    }

    /// Who is short: 1 is what all have on average.
    fn rows_of_clients(&self, part: &Part, rounds: &[Vec<f64>], depth: usize) -> Vec<Row> {
        let Crowd::Clients(count) = part.crowd else {
            return Vec::new();
        };
        let row = |index: usize| {
            let of = |rates: &Vec<f64>| {
                let shares = self.shares(*part, rates);
                sample(shares[index] * count as f64 / shares.iter().sum::<f64>())
            };
            let name = format!("{} #{index} x{}", part.name(), KINDS[index % KINDS.len()]);
            let samples: Vec<Sample> = rounds.iter().map(of).collect();
            Row::of("fairness", name, "of its part", &samples).with(count, depth)
        };
        (0..count).map(row).collect()
    }

    fn compare(&self, report: &mut Report, counts: &[usize]) {
        let least = |report: &Report, place: &str| {
            let jains = counts
                .iter()
                .filter_map(|count| report.row(&format!("{place} {count}")));
            jains.map(|row| row.value).fold(f64::INFINITY, f64::min)
        };
        let (jain, separate) = (least(report, "daemon"), least(report, "separate"));
        report.put_ratio("jain", jain);
        report.put_ratio("jain_separate", separate);
        for (part, rounds) in self.plan.iter().zip(self.rates) {
            if let Crowd::Clients(_) = part.crowd {
                let sums = rounds.iter().map(|rates| self.shares(*part, rates));
                let sums: Vec<f64> = sums.map(|shares| shares.iter().sum()).collect();
                let kept = median(&sums).unwrap_or(f64::NAN);
                report.put_ratio(&format!("kept {}", part.name()), kept);
            }
        }
        if let Some(share) = report.row("users 1:7").map(|row| row.value) {
            report.put_ratio("user_share", share);
        }
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

/// Lengths of the kernels; neighbours in a crowd differ.
const KINDS: [u32; 4] = [1, 8, 2, 4];
/// The kernel of the users' clients.
const USERS_KIND: usize = 2;
const COUNTS: [usize; 3] = [2, 8, 32];
/// Submits of each client in flight: it always has work queued.
const DEPTH: usize = 4;
/// Of the shortest kernel on a GPU.
const GROUPS: u32 = 2112;
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

    #[test]
    fn shares_are_relative_to_what_a_client_alone_does() {
        let plan = plan(&[2], false);
        let rates = |part: &Part| match part.crowd {
            Crowd::Alone(kind) => vec![800.0 / f64::from(KINDS[kind])],
            _ => vec![400.0, 50.0],
        };
        let rates: Vec<Vec<Vec<f64>>> = plan.iter().map(|part| vec![rates(part)]).collect();
        let found = Found {
            plan: &plan,
            rates: &rates,
        };
        let part = Part {
            shared: true,
            crowd: Crowd::Clients(2),
        };
        assert_eq!(found.shares(part, &[400.0, 50.0]), [0.5, 0.5]);
    }
}
