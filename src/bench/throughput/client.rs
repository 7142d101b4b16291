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
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) place: Place,
    pub(crate) kernel: Kernel,
    pub(crate) depth: usize,
    pub(crate) seconds: f64,
    pub(crate) pace: Pace,
}

/// When the next submit follows a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pace {
    AtOnce,
    /// After half a millisecond to a whole one, with one submit in flight: somebody who waits for each answer.
    AfterAPause,
}

/// What one client found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    dispatches: u64,
    start_ns: u64,
    end_ns: u64,
    latencies_us: Quantiles,
    /// Dispatches that were over in each hundredth of a second.
    bins: Vec<u32>,
    pub(crate) links: Vec<Link>,
}

impl Outcome {
    /// Dispatches per second.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = Duration::from_nanos(self.end_ns.saturating_sub(self.start_ns));
        self.dispatches as f64 / seconds.as_secs_f64()
    }

    /// Dispatches per second that were over between two moments, in hundredths of a second: while all others submit too.
    pub(crate) fn rate_within(&self, window: Range<usize>) -> f64 {
        let bins = self.bins.iter().skip(window.start).take(window.len());
        let count: u64 = bins.map(|count| u64::from(*count)).sum();
        count as f64 * 100.0 / window.len() as f64
    }

    pub(crate) fn p50_us(&self) -> Option<f64> {
        self.latencies_us.p50()
    }

    pub(crate) fn p99_us(&self) -> Option<f64> {
        self.latencies_us.p99()
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
            1 => one_by_one(&mut load, duration, self.pace)?,
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
    let outcome = one_by_one(&mut load, Duration::from_millis(500), Pace::AtOnce)?;
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
fn one_by_one(load: &mut Load<'_>, duration: Duration, pace: Pace) -> Result<Outcome, Error> {
    let mut record = Record::begin();
    let mut now = record.start;
    while now.duration_since(record.start) < duration {
        if pace == Pace::AfterAPause {
            thread::sleep(record.pause());
            now = Instant::now();
        }
        load.run()?;
        now = record.completed(now);
    }
    Ok(record.end())
}

/// Keeps a submit in flight on every lane.
fn in_flight(load: &mut Load<'_>, duration: Duration) -> Result<Outcome, Error> {
    let mut record = Record::begin();
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
            let now = record.completed(before);
            if now.duration_since(record.start) < duration {
                *at = Some(now);
                load.submit(lane)?;
            }
        }
    }
    Ok(record.end())
}

/// What a client notes while it runs.
struct Record {
    start_ns: u64,
    start: Instant,
    latencies: Vec<f64>,
    bins: Vec<u32>,
}

impl Record {
    fn begin() -> Self {
        Self {
            start_ns: clock::now_ns(),
            start: Instant::now(),
            latencies: Vec::new(),
            bins: Vec::new(),
        }
    }

    /// Something submitted at that time is over, now.
    fn completed(&mut self, before: Instant) -> Instant {
        let now = Instant::now();
        self.latencies
            .push(microseconds(now.duration_since(before)));
        let bin = now.duration_since(self.start).as_millis() / 10;
        let bin = usize::try_from(bin).unwrap_or(usize::MAX).min(MAX_BINS);
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += 1;
        now
    }

    /// 500 to 1 000 us, so that no rhythm of the device is met.
    fn pause(&self) -> Duration {
        let mixed = (self.latencies.len() as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Duration::from_micros(500 + (mixed >> 32) % 500)
    }

    fn end(self) -> Outcome {
        Outcome {
            dispatches: self.latencies.len() as u64,
            start_ns: self.start_ns,
            end_ns: clock::now_ns(),
            latencies_us: Quantiles::of(self.latencies),
            bins: self.bins,
            links: Vec::new(),
        }
    }
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Ten minutes of bins; later completions count in the last.
const MAX_BINS: usize = 60_000;
