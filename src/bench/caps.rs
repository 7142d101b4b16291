//! Hard caps on the share of device time: what clients get of what they would do alone, second by second.

use crate::arguments::CapsOptions;
use crate::backend::{Place, Terms};
use crate::bench::{Bench, Threads};
use crate::crew::Crew;
use crate::error::Error;
use crate::figures::median;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::size;
use crate::throughput::{Client, Kernel, Outcome, Pace};
use crate::worker::Task;
use std::ops::Range;
use std::thread;
use std::time::Duration;

pub(crate) fn run(options: &CapsOptions) -> Result<(), Error> {
    let common = &options.common.or(DEPTH, 4.0);
    let bench = Bench::new(common, Threads::All)?;
    let daemon = bench.daemon(common.socket.as_deref())?;
    let trial = Trial {
        bench: &bench,
        place: daemon.place(),
        kernel: size::kernel(&bench, GROUPS, options.kernel_ms)?,
        depth: common.depth(),
        seconds: common.seconds(),
    };
    let groups: Vec<&[u8]> = vec![&[], &[30], &[10, 30, 60]];
    let arm = |caps: &&'static [u8]| {
        let (trial, caps) = (&trial, *caps);
        Arm::new(name(caps), move || trial.rates(caps))
    };
    let mut arms: Vec<Arm<'_, Rates>> = groups.iter().map(arm).collect();
    let found = interleave(&mut arms, common.rounds)?;
    drop(arms);
    let alone: Vec<f64> = found[0].iter().flatten().flatten().copied().collect();
    let alone = median(&alone).unwrap_or(f64::NAN);
    let mut rows = vec![row("alone", "dispatches/s", alone).with(1, trial.depth)];
    let mut worst = Worst::default();
    for (caps, rounds) in groups.iter().zip(&found).skip(1) {
        for (index, cap) in caps.iter().enumerate() {
            let windows = |rates: &Rates| -> Vec<f64> {
                let rates = rates[index].iter();
                rates.map(|rate| rate / alone * 100.0).collect()
            };
            let rounds: Vec<Vec<f64>> = rounds.iter().map(windows).collect();
            worst.meet(f64::from(*cap), &rounds);
            let all: Vec<f64> = rounds.into_iter().flatten().collect();
            let arm = format!("{}: cap {cap}", name(caps));
            let middle = median(&all).unwrap_or(f64::NAN);
            rows.push(row(&arm, "% of alone", middle).with(caps.len(), trial.depth));
        }
    }
    let live = match &common.socket {
        Some(_) => Some(trial.live(alone)?),
        None => None,
    };
    if let Some(share) = live {
        rows.push(row("capped to 30 while it runs", "% of alone", share).with(1, trial.depth));
    }
    let mut report = Report::new("caps", rows);
    match live {
        Some(share) => report.put_ratio("live_error_points", (share - 30.0).abs()),
        None => report.note(
            "capped while it runs",
            "skipped: the private daemon is on no bus; give --socket of one that vkmpsctl reaches",
        ),
    }
    report.put_ratio("cap_error_points", worst.window);
    report.put_ratio("cap_error_points_mean", worst.mean);
    report.note("kernel", serde_json::to_value(trial.kernel)?);
    report.note("cap_error_points", "of a window's worst, medians of rounds");
    report.note("windows_ms", 10 * windows(trial.seconds)[0].len());
    report.print(&bench, common)
}

/// Dispatches per second of each client in each window.
type Rates = Vec<Vec<f64>>;

struct Trial<'a> {
    bench: &'a Bench,
    place: Place,
    kernel: Kernel,
    depth: usize,
    seconds: f64,
}

impl Trial<'_> {
    /// One client for each cap, all at once; without any, one that has none.
    fn rates(&self, caps: &[u8]) -> Result<Rates, Error> {
        let none = [None];
        let caps: Vec<Option<u8>> = match caps {
            [] => none.to_vec(),
            caps => caps.iter().copied().map(Some).collect(),
        };
        let task = |percent: &Option<u8>| {
            Task::Throughput(Client {
                place: self.place.with(Terms {
                    percent: *percent,
                    ..Terms::default()
                }),
                kernel: self.kernel,
                depth: self.depth,
                seconds: self.seconds,
                pace: Pace::AtOnce,
            })
        };
        let tasks: Vec<Task> = caps.iter().map(task).collect();
        let outcomes = Crew::prepare(self.bench, &tasks)?.measure::<Outcome>()?;
        let windows = windows(self.seconds);
        let rates = |outcome: &Outcome| {
            let windows = windows.iter().cloned();
            windows.map(|window| outcome.rate_within(window)).collect()
        };
        Ok(outcomes.iter().map(rates).collect())
    }
}

impl Trial<'_> {
    /// The share of a client that is capped to 30 % by `vkmpsctl` in the middle of a run, in the last window.
    fn live(&self, alone: f64) -> Result<f64, Error> {
        let task = Task::Throughput(Client {
            place: self.place.clone(),
            kernel: self.kernel,
            depth: self.depth,
            seconds: self.seconds,
            pace: Pace::AtOnce,
        });
        let crew = Crew::prepare(self.bench, &[task])?;
        let outcomes = crew.measure_while::<Outcome>(|| {
            thread::sleep(Duration::from_secs_f64(self.seconds / 4.0));
            self.cap_us("30")
        });
        self.cap_us("default")?;
        let outcomes = outcomes?;
        let window = windows(self.seconds).pop().ok_or(Error::WorkerDied)?;
        let rate = outcomes.first().map(|outcome| outcome.rate_within(window));
        Ok(rate.unwrap_or(f64::NAN) / alone * 100.0)
    }

    /// Caps all clients of this user together.
    fn cap_us(&self, percent: &str) -> Result<(), Error> {
        let mut command = self.bench.command(self.bench.sibling("vkmpsctl")?);
        let uid = nix::unistd::getuid().to_string();
        command.args(["set-limits", "--user", &uid]);
        let status = command
            .args(["--active-thread-percentage", percent])
            .status()
            .map_err(|source| Error::Io("starting vkmpsctl", source))?;
        match status.success() {
            true => Ok(()),
            false => Err(Error::Usage("vkmpsctl set-limits failed; see its message")),
        }
    }
}

/// The largest errors of any client, in percentage points.
#[derive(Debug, Default)]
struct Worst {
    /// In a window; the median of the rounds.
    window: f64,
    /// Over all windows together.
    mean: f64,
}

impl Worst {
    fn meet(&mut self, cap: f64, rounds: &[Vec<f64>]) {
        let worst = |windows: &Vec<f64>| {
            let errors = windows.iter().map(|share| (share - cap).abs());
            errors.fold(0.0, f64::max)
        };
        let errors: Vec<f64> = rounds.iter().map(worst).collect();
        self.window = self.window.max(median(&errors).unwrap_or(f64::NAN));
        let all: Vec<f64> = rounds.iter().flatten().copied().collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        self.mean = self.mean.max((mean - cap).abs());
    }
}

/// Seconds of a run in which everybody submits, in hundredths; of a run too short for one, its middle.
fn windows(seconds: f64) -> Vec<Range<usize>> {
    let hundredths = Duration::from_secs_f64(seconds).as_millis() / 10;
    let hundredths = usize::try_from(hundredths).unwrap_or(usize::MAX);
    let count = hundredths.saturating_sub(SETTLE + END) / 100;
    let whole = (0..count).map(|window| {
        let start = SETTLE + window * 100;
        start..start + 100
    });
    match count {
        0 => {
            let start = hundredths / 10;
            std::iter::once(start..(hundredths - start).max(start + 1)).collect()
        }
        _ => whole.collect(),
    }
}

fn name(caps: &[u8]) -> String {
    let caps: Vec<String> = caps.iter().map(u8::to_string).collect();
    if caps.is_empty() {
        "alone".to_owned()
    } else {
        caps.join("/")
    }
}

fn row(arm: &str, unit: &'static str, value: f64) -> Row {
    let sample = Sample {
        value,
        p50_us: None,
        p99_us: None,
    };
    Row::of("caps", arm, unit, &[sample])
}

/// Submits of each client in flight: it always has work queued.
const DEPTH: usize = 4;
/// Of the kernel on a GPU.
const GROUPS: u32 = 2112;
/// Hundredths of a second before the first window, and after the last.
const SETTLE: usize = 50;
const END: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_seconds_between_the_ends_of_a_run() {
        assert_eq!(windows(4.0), [50..150, 150..250, 250..350]);
        assert_eq!(windows(0.1), vec![Range { start: 1, end: 9 }]);
    }

    #[test]
    fn an_error_is_the_median_of_the_rounds_worst_windows() {
        let mut worst = Worst::default();
        worst.meet(
            30.0,
            &[vec![29.0, 31.5], vec![30.0, 29.0], vec![30.0, 40.0]],
        );
        assert!((worst.window - 1.5).abs() < 1e-9, "{worst:?}");
        worst.meet(10.0, &[vec![10.0, 10.0]]);
        assert!((worst.window - 1.5).abs() < 1e-9, "{worst:?}");
    }
}
