//! Filling one level.

use crate::stream::Stream;
use crate::{Hazard, JobKey, Level, Order, StreamKey};

/// A level under construction.
pub(crate) struct Builder {
    jobs: Vec<JobKey>,
    owners: Vec<(JobKey, StreamKey)>,
    capacity: usize,
    /// Places of it that others are to have.
    kept_free: usize,
    /// Stages of the jobs it takes: plain ones (1), or any number above; decided by the first.
    stages: u32,
    /// Ranges of the stream that is being taken from.
    taken: Vec<Hazard>,
}

impl Builder {
    pub(crate) fn new(capacity: usize, jobs: Vec<JobKey>) -> Self {
        Self {
            jobs,
            owners: Vec::new(),
            capacity,
            kept_free: 0,
            stages: 0,
            taken: Vec::new(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.jobs.len() + self.kept_free >= self.capacity
    }

    /// Is full that much earlier from now on, but never before its first job.
    pub(crate) fn keep_free(&mut self, places: usize) {
        self.kept_free = places.min(self.capacity - 1);
    }

    /// Takes jobs from the head of a stream while they fit and do not conflict; how many.
    pub(crate) fn take(&mut self, key: StreamKey, stream: &mut Stream) -> usize {
        self.taken.clear();
        let mut count = 0;
        while !self.is_full() && count < STREAM_JOBS {
            let Some(head) = stream.head().copied() else {
                break;
            };
            let alike = self.stages == 0 || (self.stages == 1) == (head.stages == 1);
            let conflict = head.order == Order::Automatic
                && stream
                    .head_hazards()
                    .any(|hazard| self.taken.iter().any(|other| hazard.conflicts(other)));
            if !alike || conflict {
                break;
            }
            // Only a further job of the same stream can look at these.
            self.taken.extend(stream.head_hazards());
            stream.pop();
            self.stages = self.stages.max(head.stages);
            self.jobs.push(head.job);
            self.owners.push((head.job, key));
            count += 1;
        }
        count
    }

    /// The level, if anything went into it.
    pub(crate) fn finish(self) -> Option<(Level, Vec<(JobKey, StreamKey)>)> {
        (!self.jobs.is_empty()).then_some((
            Level {
                jobs: self.jobs,
                stages: self.stages,
            },
            self.owners,
        ))
    }
}

/// Jobs that one stream adds to one level at most: bounds the comparison of ranges.
const STREAM_JOBS: usize = 16;
