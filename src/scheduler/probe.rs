//! Measuring a job: running it alone now and then, to know its length.

use crate::level::{Builder, Measure};
use crate::{Scheduler, fill::Place};
use std::time::Duration;

/// Running one job alone now and then, to know its length: for one part in a hundred of the time at most.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// Nothing is launched until nothing runs, since then.
    pub(crate) quiet_since: Option<Duration>,
    /// The job runs; the device was kept free for it since then.
    pub(crate) since: Option<Duration>,
    pub(crate) begins: bool,
    pub(crate) next: Duration,
}

impl Scheduler {
    /// Whether the device is kept free for a job that is to be measured alone. Not from those who outrank it.
    pub(crate) fn is_quiet(&mut self, now: Duration) -> bool {
        let busy = self.device.queues > 0;
        if self.probe.since.is_some() {
            return busy && self.queues.len() > 1;
        }
        let Some(since) = self.probe.quiet_since else {
            return false;
        };
        let late = now.saturating_sub(since) >= LONG_DRAIN;
        let outranked = self.shares.highest_ready() > self.highest_in_flight();
        if late || outranked {
            self.probe.quiet_since = None;
            self.probe.next = now + LONG_DRAIN * PROBE_PART;
            return false;
        }
        busy
    }

    /// Whether a level may be given to one job to measure it. Where only one level runs at a time, all that costs is company
    /// in it.
    pub(crate) fn measure(&self, place: Place, now: Duration) -> Measure {
        let paid = now >= self.probe.next && self.probe.since.is_none();
        if self.queues.len() == 1 {
            return if paid {
                Measure::Stale
            } else {
                Measure::Unknown
            };
        }
        match (place.idle && paid, self.device.queues == 0) {
            (true, true) => Measure::Stale,
            (true, false) => Measure::WhenQuiet,
            _ => Measure::No,
        }
    }

    pub(crate) fn note_probe(&mut self, builder: &Builder, now: Duration) {
        if builder.wants_quiet() && builder.is_empty() {
            self.probe.quiet_since = Some(now);
        } else if builder.measures() {
            let since = self.probe.quiet_since.take();
            self.probe.since = Some(since.unwrap_or(now));
            self.probe.begins = true;
        }
    }
}

impl Probe {
    /// Whether nothing is launched until something else is over.
    pub(crate) fn keeps_quiet(&self) -> bool {
        self.quiet_since.is_some() || self.since.is_some()
    }

    /// Whether the level that was just built is the one.
    pub(crate) fn begins(&mut self) -> bool {
        std::mem::take(&mut self.begins)
    }
}

/// A job that was measured alone on the device pays for it with so many times the time.
pub(crate) const PROBE_PART: u32 = 100;
/// The device is not kept free for a measurement behind work that takes longer than this.
const LONG_DRAIN: Duration = Duration::from_millis(20);
