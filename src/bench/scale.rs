//! What scheduling one dispatch costs the engine's thread: the scheduler alone, driven in this process as the engine
//! drives it, by clients that always have something to do and by clients that never have.
//!
//! The time is CPU time of this thread; it includes the little that this program does itself per dispatch.

mod world;

use crate::arguments::ScaleOptions;
use crate::bench;
use crate::error::Error;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use serde_json::json;
use std::time::Duration;
use world::World;

/// Who is there, and on how many hardware queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crowd {
    queues: usize,
    /// Of each client; each has one dispatch in flight or queued at any time.
    streams: usize,
    active: usize,
    idle: usize,
}

impl Crowd {
    fn name(self) -> String {
        let Self {
            queues,
            streams,
            active,
            idle,
        } = self;
        format!("{active}+{idle} idle, {streams} str, {queues} q")
    }
}

pub(crate) fn run(options: &ScaleOptions) -> Result<(), Error> {
    let crowds = crowds(options);
    let duration = Duration::from_secs_f64(options.seconds);
    let arm = |crowd: &Crowd| {
        let crowd = *crowd;
        Arm::new(crowd.name(), move || Ok(measure(crowd, duration)))
    };
    let mut arms: Vec<Arm<'_>> = crowds.iter().map(arm).collect();
    let samples = interleave(&mut arms, options.rounds)?;
    let rows = crowds.iter().zip(&samples).map(|(crowd, rounds)| {
        Row::of("scale", crowd.name(), "ns/dispatch", rounds).with(crowd.active, crowd.streams)
    });
    let mut report = Report::new("scale", rows.collect());
    compare(&mut report, &crowds);
    report.note("level_jobs", world::LEVEL_JOBS);
    report.note(
        "measured",
        "CPU time of submit, launch and complete together",
    );
    let settings = json!({ "seconds": options.seconds, "rounds": options.rounds });
    let conditions = bench::conditions("none: the scheduler alone", "", settings);
    report.print_with(conditions, options.json)
}

/// The figures that matter: the dearest dispatch of up to 1 024 clients, and how costs grow.
fn compare(report: &mut Report, crowds: &[Crowd]) {
    let cost = |crowd: Crowd| report.row(&crowd.name()).map(|row| row.value);
    let few = crowds.iter().filter(|crowd| crowd.active <= CLIENTS);
    let most = few.filter_map(|crowd| cost(*crowd));
    let most_us = most.fold(f64::NAN, f64::max) / 1000.0;
    // The worst over queues and streams of the cost in one crowd over that in another.
    let worst = |of: (usize, usize), to: (usize, usize)| {
        let pairs = crowds
            .iter()
            .filter(|crowd| (crowd.active, crowd.idle) == of);
        let ratios = pairs.filter_map(|crowd| {
            let (active, idle) = to;
            let base = Crowd {
                active,
                idle,
                ..*crowd
            };
            Some(cost(*crowd)? / cost(base)?)
        });
        ratios.fold(None, |worst: Option<f64>, ratio| {
            Some(worst.map_or(ratio, |worst| worst.max(ratio)))
        })
    };
    let ratios = [
        ("idle_1000_vs_0", worst((1, 1000), (1, 0))),
        ("idle_10000_vs_0", worst((1, 10_000), (1, 0))),
        ("active_1024_vs_32", worst((1024, 0), (32, 0))),
        ("active_10000_vs_32", worst((10_000, 0), (32, 0))),
    ];
    report.put_ratio("most_us_per_dispatch", most_us);
    for (name, ratio) in ratios {
        if let Some(ratio) = ratio {
            report.put_ratio(name, ratio);
        }
    }
}

fn crowds(options: &ScaleOptions) -> Vec<Crowd> {
    let only = |choice: Option<usize>, all: &[usize]| choice.map_or(all.to_vec(), |one| vec![one]);
    let counts: Vec<(usize, usize)> = match (options.clients, options.idle) {
        (None, None) => COUNTS.to_vec(),
        (active, idle) => vec![(active.unwrap_or(1).max(1), idle.unwrap_or(0))],
    };
    let mut crowds = Vec::new();
    for queues in only(options.queues, &[1, 8]) {
        for streams in only(options.streams, &[1, 8]) {
            crowds.extend(counts.iter().map(|(active, idle)| Crowd {
                queues: queues.max(1),
                streams: streams.max(1),
                active: *active,
                idle: *idle,
            }));
        }
    }
    crowds
}

fn measure(crowd: Crowd, duration: Duration) -> Sample {
    let mut world = World::new(crowd);
    world.warm_up();
    let (time, dispatches) = world.run(duration);
    Sample {
        value: time.as_secs_f64() * 1e9 / dispatches as f64,
        p50_us: None,
        p99_us: None,
    }
}

/// Clients that submit, and clients that do not.
const COUNTS: [(usize, usize); 9] = [
    (1, 0),
    (8, 0),
    (32, 0),
    (128, 0),
    (1024, 0),
    (10_000, 0),
    (1, 100),
    (1, 1000),
    (1, 10_000),
];
/// As many as a daemon serves by default; more are simulated.
const CLIENTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crowd_makes_progress_and_costs_time() {
        for crowd in [(1, 1, 1, 0), (2, 8, 3, 5), (8, 1, 40, 0)] {
            let (queues, streams, active, idle) = crowd;
            let crowd = Crowd {
                queues,
                streams,
                active,
                idle,
            };
            let sample = measure(crowd, Duration::from_millis(1));
            assert!(sample.value.is_finite() && sample.value > 0.0, "{crowd:?}");
        }
    }
}
