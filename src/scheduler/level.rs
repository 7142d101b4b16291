//! Filling one level.

use crate::cost::{Costs, Prediction, alike};
use crate::stream::Stream;
use crate::{Hazard, JobKey, Level, Order, StreamKey, Work};
use std::time::Duration;

/// A level under construction.
pub(crate) struct Builder {
    jobs: Vec<JobKey>,
    launched: Vec<Launched>,
    capacity: usize,
    /// Places of it that others are to have.
    kept_free: usize,
    /// Stages of the jobs it takes: plain ones (1), or any number above; decided by the first.
    stages: u32,
    /// Length of the jobs it takes, decided by the first.
    length: Duration,
    /// Its only job is to show how long it is.
    solo: bool,
    /// Whether a job whose length is to be measured again may have the level.
    may_measure: bool,
    /// Ranges of the stream that is being taken from.
    taken: Vec<Hazard>,
}

/// A job in flight and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launched {
    pub(crate) job: JobKey,
    pub(crate) stream: StreamKey,
    pub(crate) work: Work,
    pub(crate) predicted: Prediction,
}

impl Builder {
    pub(crate) fn new(capacity: usize, jobs: Vec<JobKey>, may_measure: bool) -> Self {
        Self {
            jobs,
            launched: Vec::new(),
            capacity,
            kept_free: 0,
            stages: 0,
            length: Duration::ZERO,
            solo: false,
            may_measure,
            taken: Vec::new(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.solo || self.jobs.len() + self.kept_free >= self.capacity
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether its job has it to be measured again.
    pub(crate) fn measures(&self) -> bool {
        self.solo && self.may_measure
    }

    /// Is full that much earlier from now on, but never before its first job.
    pub(crate) fn keep_free(&mut self, places: usize) {
        self.kept_free = places.min(self.capacity - 1);
    }

    /// Takes jobs from the head of a stream while they fit, do not conflict and cost no more than the allowance, the
    /// first one whatever it costs: how many, and their cost together.
    pub(crate) fn take(
        &mut self,
        key: StreamKey,
        stream: &mut Stream,
        costs: &Costs,
        allowance: Duration,
    ) -> (usize, Duration) {
        self.taken.clear();
        let (mut count, mut cost) = (0, Duration::ZERO);
        while !self.is_full() && count < STREAM_JOBS && (count == 0 || cost <= allowance) {
            let Some(head) = stream.head().copied() else {
                break;
            };
            let conflict = head.order == Order::Automatic
                && stream
                    .head_hazards()
                    .any(|hazard| self.taken.iter().any(|other| hazard.conflicts(other)));
            let predicted = costs.predict(head.work);
            let alone = !predicted.known || self.may_measure && costs.is_stale(head.work);
            let fits = self.jobs.is_empty()
                || !alone
                    && (self.stages == 1) == (head.stages == 1)
                    && alike(self.length, predicted.length);
            if conflict || !fits {
                break;
            }
            if self.jobs.is_empty() {
                (self.solo, self.length) = (alone, predicted.length);
            }
            // Only a further job of the same stream can look at these.
            self.taken.extend(stream.head_hazards());
            stream.pop();
            self.stages = self.stages.max(head.stages);
            self.jobs.push(head.job);
            self.launched.push(Launched {
                job: head.job,
                stream: key,
                work: head.work,
                predicted,
            });
            cost += predicted.cost;
            count += 1;
        }
        (count, cost)
    }

    /// The level, if anything went into it.
    pub(crate) fn finish(self) -> Option<(Level, Vec<Launched>)> {
        (!self.jobs.is_empty()).then_some((
            Level {
                jobs: self.jobs,
                stages: self.stages,
            },
            self.launched,
        ))
    }
}

/// Jobs that one stream adds to one level at most: bounds the comparison of ranges.
const STREAM_JOBS: usize = 16;
