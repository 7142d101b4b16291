//! The device as the scheduler sees it: its queues, and whose time it is.

use crate::level::Launched;
use crate::share::LANES;
use crate::{Scheduler, StreamKey};
use std::collections::VecDeque;
use std::time::Duration;

/// A hardware queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Levels in flight, oldest first.
    pub(crate) levels: VecDeque<InFlight>,
    pub(crate) launches: usize,
    /// Streams that are bound to this queue and have more work, by priority, with the number of their entry.
    pub(crate) bound: [VecDeque<(StreamKey, u32)>; LANES],
    /// When the level that runs now can have begun, and what the device's time was then.
    pub(crate) begun: Duration,
    pub(crate) begun_shared: Duration,
    /// No other queue was at work since then.
    pub(crate) alone: bool,
}

/// A level in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) pieces: Vec<Launched>,
    pub(crate) lane: usize,
    /// What was foreseen of it.
    pub(crate) cost_ns: u64,
    /// Its only job is being measured.
    pub(crate) probe: bool,
    pub(crate) last_of_launch: bool,
}

/// Time of the device: jobs that run at the same time, on whichever queue, have equal parts of it.
#[derive(Debug, Default)]
pub(crate) struct DeviceTime {
    pub(crate) at: Duration,
    /// What one job would have had.
    pub(crate) time: Duration,
    /// Jobs of the first levels of all queues.
    pub(crate) jobs: u32,
    /// Queues at work.
    pub(crate) queues: usize,
}

impl Scheduler {
    pub(crate) fn has_idle_queue(&self) -> bool {
        self.device.queues < self.queues.len()
    }

    pub(crate) fn highest_in_flight(&self) -> Option<usize> {
        (0..LANES).rev().find(|lane| self.in_flight[*lane] > 0)
    }

    /// A queue that was idle is at work.
    pub(crate) fn queue_began(&mut self, queue: usize, now: Duration) {
        self.device.advance(now);
        self.device.queues += 1;
        let alone = self.device.queues == 1;
        if !alone {
            self.queues.iter_mut().for_each(|queue| queue.alone = false);
        }
        let state = &mut self.queues[queue];
        let first = state.levels.front().map_or(0, |level| level.pieces.len());
        self.device.began(first);
        (state.begun, state.begun_shared, state.alone) = (now, self.device.time, alone);
    }
}

impl DeviceTime {
    pub(crate) fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if let Some(part) = passed.checked_div(self.jobs) {
            self.time += part;
        }
    }

    pub(crate) fn began(&mut self, jobs: usize) {
        self.jobs += u32::try_from(jobs).unwrap_or(u32::MAX);
    }

    pub(crate) fn ended(&mut self, jobs: u32) {
        self.jobs -= jobs;
    }
}
