//! A device in simulated time.

use super::client::Kernel;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Hardware queues in front of one pool of cores. The first level of every queue runs, its jobs at the same time; when
/// they ask for more cores than there are, all slow down alike.
#[derive(Debug)]
pub(super) struct Device {
    queues: Vec<Queue>,
    /// Cores; a job's width says how many of them it fills.
    width: u32,
    now: Duration,
    /// Nanoseconds that a job which began at the start and never ended would have run by now, alone.
    progress: f64,
    /// Running jobs by the progress at which they end: queue and width.
    running: BinaryHeap<Reverse<(Moment, usize, u32)>>,
    widths: u32,
    /// Time at which anything ran.
    pub(super) busy: Duration,
}

#[derive(Debug, Default)]
struct Queue {
    levels: VecDeque<Vec<Kernel>>,
    /// Jobs of the first level that are not over.
    left: usize,
}

/// A progress that can be compared; finite by construction.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Device {
    pub(super) fn new(queues: usize, width: u32) -> Self {
        Self {
            queues: (0..queues).map(|_| Queue::default()).collect(),
            width,
            now: Duration::ZERO,
            progress: 0.0,
            running: BinaryHeap::new(),
            widths: 0,
            busy: Duration::ZERO,
        }
    }

    /// Appends a level to a queue at the present time.
    pub(super) fn submit(&mut self, queue: usize, level: Vec<Kernel>) {
        let idle = self.queues[queue].levels.is_empty();
        self.queues[queue].levels.push_back(level);
        if idle {
            self.start(queue);
        }
    }

    pub(super) fn rests(&self, queue: usize) -> bool {
        self.queues[queue].levels.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// When the next job ends, if nothing new comes.
    pub(super) fn next_end(&self) -> Option<Duration> {
        let Reverse((Moment(end), ..)) = self.running.peek()?;
        let rest_ns = (end - self.progress).max(0.0) / self.rate();
        // A nanosecond more, lest rounding leaves some of the job.
        Some(self.now + Duration::from_secs_f64(rest_ns / 1e9) + Duration::from_nanos(1))
    }

    /// Lets time pass up to `now`, which is not behind [`Self::next_end`].
    pub(super) fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        if !self.is_idle() {
            self.busy += passed;
            self.progress += passed.as_nanos() as f64 * self.rate();
        }
        self.now = now;
    }

    /// Ends the next job if its time has come; the queue, where that ended a level.
    pub(super) fn end(&mut self) -> Option<Option<usize>> {
        let Reverse((Moment(end), queue, width)) = *self.running.peek()?;
        if end > self.progress + ROUNDING_NS {
            return None;
        }
        self.running.pop();
        self.widths -= width;
        let state = &mut self.queues[queue];
        state.left -= 1;
        if state.left > 0 {
            return Some(None);
        }
        state.levels.pop_front();
        self.start(queue);
        Some(Some(queue))
    }

    fn start(&mut self, queue: usize) {
        let state = &mut self.queues[queue];
        let Some(level) = state.levels.front() else {
            return;
        };
        state.left = level.len();
        for kernel in level {
            let end = self.progress + (LAUNCH + kernel.time).as_nanos() as f64;
            self.running
                .push(Reverse((Moment(end), queue, kernel.width)));
            self.widths += kernel.width;
        }
    }

    /// How fast jobs run, compared with a device of their own.
    fn rate(&self) -> f64 {
        if self.widths <= self.width {
            1.0
        } else {
            f64::from(self.width) / f64::from(self.widths)
        }
    }
}

/// From the submission of a level to its start.
const LAUNCH: Duration = Duration::from_micros(5);
/// Time is in whole nanoseconds, progress is not.
const ROUNDING_NS: f64 = 2.0;
