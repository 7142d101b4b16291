//! What is known of one client, and its part of the level that is being filled.

use crate::StreamKey;
use crate::bucket::Bucket;
use crate::cost::Costs;
use crate::policy::Share;
use std::collections::VecDeque;
use vkmps_protocol::message::Priority;

/// A connection: what it has to do and what is known of its work.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(super) account: u32,
    pub(super) priority: Priority,
    pub(super) lane: usize,
    pub(super) user: u32,
    pub(super) seat: u32,
    pub(super) share: Share,
    pub(super) cap: Option<Bucket>,
    pub(super) throttled: bool,
    /// Clients that it has a cap together with, besides.
    pub(super) pool: Option<u64>,
    /// It is REALTIME and runs as HIGH.
    pub(super) demoted: bool,
    /// Streams that are bound to no queue and have work.
    pub(crate) ready: VecDeque<StreamKey>,
    /// Jobs that are queued or in flight.
    pub(super) jobs: usize,
    /// Streams that are open, or closed with work in flight.
    pub(super) streams: usize,
    pub(super) left: bool,
    pub(super) active: bool,
    pub(super) idle_since_ns: u64,
    /// Moving average of how long it does nothing before it submits again.
    pub(super) pause_ns: u64,
    pub(crate) costs: Costs,
    /// Its part of the level that is being filled.
    pub(super) part: Part,
}

/// Jobs of one client that share a level: what that would take without the others.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Part {
    level: u64,
    longest_ns: u64,
    cost_ns: u64,
}

/// A client's part of a level, while that is filled.
#[derive(Debug)]
pub(crate) struct Serving<'a>(&'a mut Part);

impl Serving<'_> {
    /// The client is given a job: what it is charged for that. Its jobs of one level run at the same time, as they would
    /// without the others.
    pub(crate) fn serve(&mut self, length_ns: u64, cost_ns: u64) -> u64 {
        let part = &mut *self.0;
        let before_ns = part.longest_ns.max(part.cost_ns);
        part.longest_ns = part.longest_ns.max(length_ns);
        part.cost_ns = part.cost_ns.saturating_add(cost_ns);
        part.longest_ns.max(part.cost_ns) - before_ns
    }
}

impl Client {
    pub(super) fn is_gone(&self) -> bool {
        self.left && self.streams == 0
    }

    /// It has something to do again.
    pub(super) fn note_pause(&mut self, now_ns: u64) {
        let pause_ns = now_ns
            .saturating_sub(self.idle_since_ns)
            .min(LONG_PAUSE_NS * 4);
        self.pause_ns = (self.pause_ns * 3 + pause_ns) / 4;
    }

    /// How long others go on counting it as one who has work.
    pub(super) fn patience_ns(&self) -> u64 {
        match self.pause_ns > LONG_PAUSE_NS {
            true => 0,
            false => self.pause_ns * 2 + PATIENCE_NS,
        }
    }

    /// What is known of its work, and its part of the level with this number.
    pub(super) fn serving(&mut self, level: u64) -> (&Costs, Serving<'_>) {
        if self.part.level != level {
            self.part = Part {
                level,
                ..Part::default()
            };
        }
        (&self.costs, Serving(&mut self.part))
    }
}

/// Who usually waits longer between its submits is not one who keeps the device busy.
const LONG_PAUSE_NS: u64 = 5_000_000;
/// What it takes a client to wake up and submit again, at least.
const PATIENCE_NS: u64 = 1_000_000;
