//! A stream's queue of jobs.

use crate::cost::KindKey;
use crate::{ClientKey, Hazard, JobKey, Order, Work};
use std::collections::VecDeque;

/// Jobs of one stream that are not in flight, and where the stream stands.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) client: ClientKey,
    /// Queue that has its work in flight.
    pub(crate) queue: Option<usize>,
    /// Pieces.
    pub(crate) in_flight: usize,
    pub(crate) listed: Listed,
    /// Tells its entries in lists of queues apart: only the one with this number counts.
    pub(crate) entry: u32,
    /// When its last piece was taken, in turns of all clients.
    pub(crate) turn: u64,
    /// Device time of the pieces that are over of the job that is in flight, nanoseconds.
    pub(crate) spent_ns: u64,
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
    pub(crate) work: Work,
    pub(crate) kind: KindKey,
    /// Units that were launched.
    pub(crate) done: u64,
}

impl Stream {
    pub(crate) fn new(client: ClientKey) -> Self {
        Self {
            client,
            queue: None,
            in_flight: 0,
            listed: Listed::No,
            entry: 0,
            turn: 0,
            spent_ns: 0,
            closed: false,
            released: false,
            pending: VecDeque::new(),
            hazards: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, job: Pending, hazards: &[Hazard]) {
        self.pending.push_back(job);
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

    /// The head was launched up to here.
    pub(crate) fn cut(&mut self, done: u64) {
        if let Some(head) = self.pending.front_mut() {
            head.done = done;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<JobKey> {
        let head = self.pending.pop_front()?;
        self.hazards.drain(..head.hazards);
        Some(head.job)
    }
}
