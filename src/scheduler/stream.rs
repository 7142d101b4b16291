//! A stream's queue of jobs.

use crate::{Hazard, JobKey, Order};
use std::collections::VecDeque;
use vkmps_protocol::message::Priority;

/// Jobs of one stream that are not in flight, and where the stream stands.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) priority: Priority,
    /// Queue that has its work in flight.
    pub(crate) queue: Option<usize>,
    pub(crate) in_flight: usize,
    pub(crate) listed: Listed,
    pub(crate) closed: bool,
    pub(crate) released: bool,
    pending: VecDeque<Pending>,
    /// Hazards of the pending jobs, one after another.
    hazards: VecDeque<Hazard>,
}

/// In which list the next launch finds a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    No,
    Lane,
    Bound(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) job: JobKey,
    pub(crate) hazards: usize,
    pub(crate) order: Order,
    pub(crate) stages: u32,
}

impl Stream {
    pub(crate) fn new(priority: Priority) -> Self {
        Self {
            priority,
            queue: None,
            in_flight: 0,
            listed: Listed::No,
            closed: false,
            released: false,
            pending: VecDeque::new(),
            hazards: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, job: JobKey, hazards: &[Hazard], order: Order, stages: u32) {
        self.pending.push_back(Pending {
            job,
            hazards: hazards.len(),
            order,
            stages,
        });
        self.hazards.extend(hazards);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn head(&self) -> Option<&Pending> {
        self.pending.front()
    }

    /// Byte ranges of the head.
    pub(crate) fn head_hazards(&self) -> impl Iterator<Item = &Hazard> {
        self.hazards
            .iter()
            .take(self.head().map_or(0, |head| head.hazards))
    }

    pub(crate) fn pop(&mut self) -> Option<JobKey> {
        let head = self.pending.pop_front()?;
        self.hazards.drain(..head.hazards);
        Some(head.job)
    }
}
