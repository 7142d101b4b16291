//! One client process: submits and waits, `depth` submits in flight, each on its own lane and buffers.

use super::kernel::Kernel;
use super::load::Load;
use crate::backend::{self, Place};
use crate::chain::Link;
use crate::clock;
use crate::crew::inside;
use crate::error::Error;
use crate::figures::Quantiles;
use crate::report::Sample;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) place: Place,
    pub(crate) kernel: Kernel,
    pub(crate) depth: usize,
    pub(crate) seconds: f64,
}

/// What one client found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    dispatches: u64,
    start_ns: u64,
    end_ns: u64,
    latencies_us: Quantiles,
    pub(crate) links: Vec<Link>,
}

impl Outcome {
    /// Dispatches per second.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = Duration::from_nanos(self.end_ns.saturating_sub(self.start_ns));
        self.dispatches as f64 / seconds.as_secs_f64()
    }
}

/// All clients together: dispatches over the time from the first start to the last end.
pub(crate) fn sample(outcomes: &[Outcome]) -> Sample {
    let dispatches: u64 = outcomes.iter().map(|outcome| outcome.dispatches).sum();
    let start = outcomes
        .iter()
        .map(|outcome| outcome.start_ns)
        .min()
        .unwrap_or(0);
    let end = outcomes
        .iter()
        .map(|outcome| outcome.end_ns)
        .max()
        .unwrap_or(0);
    let latencies = Quantiles::merge(outcomes.iter().map(|outcome| &outcome.latencies_us));
    let seconds = Duration::from_nanos(end.saturating_sub(start)).as_secs_f64();
    Sample {
        value: dispatches as f64 / seconds,
        p50_us: latencies.p50(),
        p99_us: latencies.p99(),
    }
}

impl Client {
    pub(crate) fn run(self) -> Result<(), Error> {
        let mut backend = backend::open(&self.place)?;
        let mut load = Load::new(backend.as_mut(), self.kernel, self.depth)?;
        load.warm_up()?;
        let duration = Duration::from_secs_f64(self.seconds);
        inside::line_up()?;
        let mut outcome = match self.depth {
            1 => one_by_one(&mut load, duration)?,
            _ => in_flight(&mut load, duration)?,
        };
        if self.kernel.counts() {
            outcome.links = load.links()?;
            load.check_each_element()?;
        } else if !self.kernel.is_empty() {
            load.check_sum()?;
        }
        inside::say(&outcome)
    }
}

/// Iterations of the fma kernel that take about so long on an own device.
pub(crate) fn calibrate(place: &Place, kernel: Kernel, milliseconds: f64) -> Result<(), Error> {
    let mut backend = backend::open(place)?;
    let mut load = Load::new(backend.as_mut(), kernel, 1)?;
    load.warm_up()?;
    inside::line_up()?;
    let outcome = one_by_one(&mut load, Duration::from_millis(500))?;
    let took_ms = outcome.latencies_us.p50().unwrap_or(1.0) / 1000.0;
    let wanted = f64::from(kernel.iterations) * milliseconds / took_ms;
    // Doubling up to it avoids a cast from floating point, and 3 % steps are exact enough.
    let mut iterations = 1u32;
    while f64::from(iterations) < wanted && iterations < 2_000_000_000 {
        iterations += iterations / 32 + 1;
    }
    inside::say(&iterations)
}

/// Submits and waits, and again.
fn one_by_one(load: &mut Load<'_>, duration: Duration) -> Result<Outcome, Error> {
    let start_ns = clock::now_ns();
    let start = Instant::now();
    let mut latencies = Vec::new();
    let mut now = start;
    while now.duration_since(start) < duration {
        load.run()?;
        let end = Instant::now();
        latencies.push(microseconds(end.duration_since(now)));
        now = end;
    }
    Ok(outcome(start_ns, latencies))
}

/// Keeps a submit in flight on every lane.
fn in_flight(load: &mut Load<'_>, duration: Duration) -> Result<Outcome, Error> {
    let start_ns = clock::now_ns();
    let start = Instant::now();
    let mut latencies = Vec::new();
    let mut submitted = vec![None; load.depth()];
    for (lane, at) in submitted.iter_mut().enumerate() {
        *at = Some(Instant::now());
        load.submit(lane)?;
    }
    while submitted.iter().any(Option::is_some) {
        for (lane, at) in submitted.iter_mut().enumerate() {
            let Some(before) = at.take() else {
                continue;
            };
            load.wait(lane)?;
            let now = Instant::now();
            latencies.push(microseconds(now.duration_since(before)));
            if now.duration_since(start) < duration {
                *at = Some(now);
                load.submit(lane)?;
            }
        }
    }
    Ok(outcome(start_ns, latencies))
}

fn outcome(start_ns: u64, latencies: Vec<f64>) -> Outcome {
    Outcome {
        dispatches: latencies.len() as u64,
        start_ns,
        end_ns: clock::now_ns(),
        latencies_us: Quantiles::of(latencies),
        links: Vec::new(),
    }
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
