//! Taking work from streams into a level.

use crate::fill::Place;
use crate::level::{Builder, Visit};
use crate::share::Next;
use crate::stream::Listed;
use crate::{Scheduler, StreamKey};
use std::time::Duration;

impl Scheduler {
    /// Users with a reserve that is not used up come before everybody.
    pub(crate) fn take_owed(
        &mut self,
        place: Place,
        builder: &mut Builder,
        first: &mut Option<usize>,
    ) {
        while let Some(next) = self.shares.next_owed() {
            let lane = self.shares.lane(next.client);
            self.limit_level(builder, lane, place);
            if builder.is_full() || self.visit(place, next, builder, first).is_none() {
                return;
            }
        }
    }

    /// The first `bound` streams of those bound to the queue.
    pub(crate) fn take_bound(
        &mut self,
        place: Place,
        lane: usize,
        bound: usize,
        builder: &mut Builder,
        first: &mut Option<usize>,
    ) {
        for _ in 0..bound.min(2 * self.config.level_jobs) {
            if builder.is_full() {
                return;
            }
            let Some((key, entry)) = self.queues[place.queue].bound[lane].pop_front() else {
                return;
            };
            let stream = &self.streams[key.0 as usize];
            if stream.entry != entry || stream.listed != Listed::Bound(place.queue) {
                continue;
            }
            match self.shares.may_go(stream.client) {
                Some(allowance_ns) => {
                    let client = stream.client;
                    if let Some(charged_ns) = self.take_stream(key, place, allowance_ns, builder) {
                        self.shares.charge(client, charged_ns);
                        first.get_or_insert(lane);
                    }
                }
                None => self.queues[place.queue].bound[lane].push_back((key, entry)),
            }
        }
    }

    /// At most `most` streams of a common lane, in the order of what their clients have had: how many.
    pub(crate) fn take_common(
        &mut self,
        place: Place,
        lane: usize,
        most: usize,
        builder: &mut Builder,
        first: &mut Option<usize>,
        now: Duration,
    ) -> usize {
        let aged = self.lanes[lane].is_due(now);
        let mut taken = 0;
        let before = self.shares.streams(lane);
        while taken < most && !builder.is_full() && !self.shares.are_many_aside() {
            let Some(next) = self.shares.next(lane, place.idle) else {
                break;
            };
            match self.visit(place, next, builder, first) {
                Some(charged_ns) => {
                    taken = before.saturating_sub(self.shares.streams(lane)).max(1);
                    self.hungry_since = None;
                    self.lanes[lane].served(Duration::from_nanos(charged_ns), aged, now);
                }
                None => continue,
            }
        }
        taken
    }

    /// Streams of a client, for no more than a moment of the device's time: what that was charged, if one had a place.
    fn visit(
        &mut self,
        place: Place,
        next: Next,
        builder: &mut Builder,
        first: &mut Option<usize>,
    ) -> Option<u64> {
        let client = next.client;
        let limit_ns = next.allowance_ns.min(VISIT_NS);
        let mut charged_ns = None;
        for _ in 0..VISIT_STREAMS {
            let Some(key) = self.shares.pop_stream(client) else {
                break;
            };
            let Some(more_ns) = self.take_stream(key, place, next.allowance_ns, builder) else {
                break;
            };
            let sum_ns = charged_ns.unwrap_or(0) + more_ns;
            charged_ns = Some(sum_ns);
            if sum_ns >= limit_ns || builder.is_full() {
                break;
            }
        }
        let Some(charged_ns) = charged_ns else {
            // Not of this level's kind; its other streams may be, but looking for one has no end.
            self.shares.set_aside(client);
            return None;
        };
        first.get_or_insert(self.shares.lane(client));
        self.shares.charge(client, charged_ns);
        self.shares.list(client);
        Some(charged_ns)
    }

    /// Moves what fits from a stream into the level; the stream is listed again if work is left. What its client is to be
    /// charged, if anything did.
    fn take_stream(
        &mut self,
        key: StreamKey,
        place: Place,
        allowance_ns: u64,
        builder: &mut Builder,
    ) -> Option<u64> {
        let client = self.streams[key.0 as usize].client;
        let slice_ns = self.slice_ns(client, place);
        let stream = &mut self.streams[key.0 as usize];
        let was = std::mem::replace(&mut stream.listed, Listed::No);
        let (costs, mut serving) = self.shares.serving(client);
        let visit = Visit {
            costs,
            allowance_ns,
            slice_ns,
            turn: self.turn,
        };
        let taken = builder.take(key, stream, visit, |length_ns, cost_ns| {
            serving.serve(length_ns, cost_ns)
        });
        if taken.pieces > 0 {
            stream.queue = Some(place.queue);
            stream.in_flight += taken.pieces;
            self.waiting -= taken.jobs;
            if self.served.replace(client) != Some(client) {
                self.turn += 1;
            }
            self.streams[key.0 as usize].turn = self.turn;
        } else if was == Listed::Lane {
            // It keeps its place.
            stream.listed = Listed::Lane;
            self.shares.push_stream_front(client, key);
            return None;
        }
        self.list(key);
        (taken.pieces > 0).then_some(taken.charged_ns)
    }
}

/// What a client has before others are looked at: streams, and device time. Looking costs as much as taking.
const VISIT_STREAMS: usize = 8;
const VISIT_NS: u64 = 100_000;
