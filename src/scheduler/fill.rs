//! Filling queues: which work goes into the next launch.

use crate::level::{Builder, Launched, Measure, Room, Visit};
use crate::share::{LANES, Next};
use crate::stream::Listed;
use crate::{
    Action, ClientKey, InFlight, LONG_LEVEL, Level, SLOW_ARRIVALS, Scheduler, StreamKey, ns,
};
use std::time::Duration;
use vkmps_protocol::share::Mode;

/// What one launch may take, and for which queue.
#[derive(Debug, Clone, Copy)]
struct Place {
    queue: usize,
    /// Streams of the common lanes.
    share: usize,
    /// Those come before bound ones.
    hungry: bool,
    /// The queue has nothing else to do.
    idle: bool,
    /// The highest lane that has work, or had some not long ago.
    highest: usize,
}

/// Whether a lane may exceed what its priority allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exempt {
    No,
    /// It was passed over for long, or its user is owed a reserve.
    Yes,
}

impl Scheduler {
    /// Fills queues that want work.
    pub fn launch(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.shares.now_ns = ns(now);
        self.shares.expire();
        if self.waiting > 0 && !self.is_quiet(now) {
            self.fill_all(now, actions);
        }
        self.shares.demote();
        actions.extend(
            self.shares
                .news
                .drain(..)
                .map(|(client, demoted)| match demoted {
                    true => Action::Demoted(client),
                    false => Action::Restored(client),
                }),
        );
    }

    fn fill_all(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for queue in 0..self.queues.len() {
            let waits = (0..LANES).rev().find(|lane| self.shares.is_ready(*lane));
            let state = &self.queues[queue];
            let bound = state.bound.iter().any(|bound| !bound.is_empty());
            if !bound && waits.is_none() {
                continue;
            }
            let over =
                waits.is_some_and(|lane| self.in_flight[..lane].iter().any(|count| *count > 0));
            let launches = state.launches;
            match launches {
                0 if self.gathers(now) || self.holds(now) => {}
                0 => self.fill(queue, true, now, actions),
                1 => {
                    let long = self.level_time >= LONG_LEVEL && !self.idle_queue();
                    let lanes = long || self.is_hungry(now) || over && self.outranks(queue);
                    if lanes || bound {
                        self.fill(queue, lanes, now, actions);
                    }
                }
                _ if over && self.outranks(queue) => self.fill(queue, true, now, actions),
                _ => {}
            }
            if self.probe.quiet_since.is_some() {
                break;
            }
        }
    }

    /// Whether work waits for company, or for somebody whose turn it is, with a queue idle: [`Self::launch`] is to be
    /// called again soon, no event tells when.
    pub fn gathering(&self) -> bool {
        (self.waiting_since.is_some() || self.holding_since.is_some()) && self.ready() > 0
    }

    /// When [`Self::launch`] is to be called at the latest, although nothing happens until then: somebody's cap will allow
    /// more work, or a REALTIME period ends.
    pub fn due(&self) -> Option<Duration> {
        self.shares.wakes_ns().map(Duration::from_nanos)
    }

    /// Whether the device is kept free for a job that is to be measured alone. Not from those who outrank it.
    fn is_quiet(&mut self, now: Duration) -> bool {
        let busy = self.device.queues > 0;
        if self.probe.since.is_some() {
            return busy && self.queues.len() > 1;
        }
        let Some(since) = self.probe.quiet_since else {
            return false;
        };
        let late = now.saturating_sub(since) >= LONG_DRAIN;
        let outranked =
            (0..LANES).rev().find(|lane| self.shares.is_ready(*lane)) > self.highest_in_flight();
        if late || outranked {
            self.probe.quiet_since = None;
            self.probe.next = now + LONG_DRAIN * crate::PROBE_PART;
            return false;
        }
        busy
    }

    fn highest_in_flight(&self) -> Option<usize> {
        (0..LANES).rev().find(|lane| self.in_flight[*lane] > 0)
    }

    /// Streams of the common lanes.
    fn ready(&self) -> usize {
        let ready = (0..LANES).filter(|lane| self.shares.is_ready(*lane));
        ready.map(|lane| self.shares.streams(lane)).sum()
    }

    /// Whether the first of those who wait comes before all that the queue has.
    fn outranks(&self, queue: usize) -> bool {
        let waits = (0..LANES).rev().find(|lane| self.shares.is_ready(*lane));
        let has = self.queues[queue]
            .levels
            .iter()
            .map(|level| level.lane)
            .max();
        waits > has && self.queues[queue].launches < LANES && !self.idle_queue()
    }

    /// Whether an idle queue waits a little for more: each launch costs the engine and the device a fixed time, so many
    /// small ones are slower than few larger ones. Only while others keep the device busy and company is near.
    fn gathers(&mut self, now: Duration) -> bool {
        let ready = self.ready();
        if ready == 0 {
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        let gathers = self.device.queues > 0
            && ready < self.config.spread_jobs
            && self.arrival_gap < SLOW_ARRIVALS
            && now.saturating_sub(since) < self.config.gather;
        if !gathers {
            self.waiting_since = None;
        }
        gathers
    }

    /// Whether an idle queue waits a moment for a client whose turn it is and who is about to submit again: for who
    /// submits and waits, the device would otherwise never be free (S. Iyer, P. Druschel, Anticipatory scheduling, SOSP
    /// 2001). Only where the wait is shorter than the work that it delays, and nothing runs beside it.
    fn holds(&mut self, now: Duration) -> bool {
        if self.queues.len() > 1 {
            return false;
        }
        let patience = self.shares.awaited().and_then(|awaited| {
            let aged = self.lanes[self.shares.lane(awaited.leader)].is_due(now);
            let leader = self.shares.client(awaited.leader);
            let head = self.streams[leader.ready.front()?.0 as usize].head()?;
            let left = head.work.units - head.done;
            let length_ns = leader.costs.predict(head.kind, left).length_ns;
            let pause = Duration::from_nanos(awaited.pause_ns);
            (!aged && awaited.pause_ns <= length_ns).then_some(pause * 2 + HOLD)
        });
        let Some(patience) = patience else {
            self.holding_since = None;
            return false;
        };
        let since = *self.holding_since.get_or_insert(now);
        let holds = now.saturating_sub(since) < patience;
        if !holds {
            self.holding_since = None;
        }
        holds
    }

    /// Whether the common lanes were passed over for long: streams that never run dry would keep every queue to themselves.
    fn is_hungry(&mut self, now: Duration) -> bool {
        if self.ready() == 0 {
            self.hungry_since = None;
            return false;
        }
        now.saturating_sub(*self.hungry_since.get_or_insert(now)) >= HUNGER
    }

    fn idle_queue(&self) -> bool {
        self.device.queues < self.queues.len()
    }

    /// Builds one launch for a queue from its bound streams and, where `lanes`, from the common ones.
    fn fill(&mut self, queue: usize, lanes: bool, now: Duration, actions: &mut Vec<Action>) {
        let present = (0..LANES).rev().find(|lane| self.shares.is_present(*lane));
        let mut place = Place {
            queue,
            share: if lanes { self.share() } else { 0 },
            hungry: lanes && self.is_hungry(now),
            idle: self.queues[queue].launches == 0,
            highest: present.unwrap_or(0),
        };
        let rounds = match self.level_time >= LONG_LEVEL {
            true => 1,
            false => SHORT_LEVELS,
        };
        let was_idle = self.queues[queue].levels.is_empty();
        let mut levels = Vec::new();
        for _ in 0..rounds {
            let Some((lane, level, pieces)) = self.level(place, now) else {
                break;
            };

            // What could not share the level of one job that is to be measured has the next one.
            if pieces.len() > 1 {
                place.share = 0;
            }
            place.idle = false;
            self.in_flight[lane] += 1;
            self.queues[queue].levels.push_back(InFlight {
                pieces,
                lane,
                probe: self.probe.begins(),
                last_of_launch: false,
            });
            levels.push(level);
            if self.probe.since.is_some() && self.queues.len() > 1 {
                break;
            }
        }
        let Some(last) = self.queues[queue]
            .levels
            .back_mut()
            .filter(|_| !levels.is_empty())
        else {
            return;
        };
        last.last_of_launch = true;
        if was_idle {
            self.began(queue, now);
        }
        self.queues[queue].launches += 1;
        actions.push(Action::Launch { queue, levels });
    }

    /// A queue that was idle is at work.
    fn began(&mut self, queue: usize, now: Duration) {
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

    /// Streams of the common lanes that one launch takes: all for one queue while they are few, else an equal part.
    fn share(&self) -> usize {
        let idle = (self.queues.len() - self.device.queues).max(1);
        self.ready().div_ceil(idle).max(self.config.spread_jobs)
    }

    /// One level, and the lane of its first job: heads of streams, and what follows them without a conflict. Higher
    /// priorities come first; within one, bound streams, unless the common ones are hungry.
    fn level(&mut self, place: Place, now: Duration) -> Option<(usize, Level, Vec<Launched>)> {
        let room = Room {
            jobs: self.config.level_jobs,
            cost_ns: u64::MAX,
            measure: self.measure(place, now),
        };
        let mut builder = Builder::new(
            room,
            self.spare.pop().unwrap_or_default(),
            self.spare_launched.pop().unwrap_or_default(),
            std::mem::take(&mut self.taken),
        );
        let aged = (0..LANES).find(|lane| place.share > 0 && self.lanes[*lane].is_due(now));
        let mut bound: [_; LANES] =
            std::array::from_fn(|lane| self.queues[place.queue].bound[lane].len());
        let mut first = None;
        if place.share > 0 {
            self.take_owed(place, &mut builder, &mut first);
        }
        let mut left = place.share;
        let others = (0..LANES).rev().filter(|lane| aged != Some(*lane));
        for lane in aged.into_iter().chain(others) {
            let exempt = match aged == Some(lane) && builder.is_empty() {
                true => Exempt::Yes,
                false => Exempt::No,
            };
            if !self.may_join(lane, place, first, exempt) {
                continue;
            }
            self.limit(&mut builder, lane, place);
            // A stream is taken from once: what it has left binds it to the queue, behind these.
            let bound = std::mem::take(&mut bound[lane]);
            if !place.hungry {
                self.take_bound(place, lane, bound, &mut builder, &mut first);
            }
            let share = match exempt {
                Exempt::Yes => left.min(1),
                Exempt::No => left,
            };
            let taken = self.take_common(place, lane, share, &mut builder, &mut first, now);
            left = left.saturating_sub(taken);
            if place.hungry {
                self.take_bound(place, lane, bound, &mut builder, &mut first);
            }
        }
        self.shares.restore();
        if place.share > 0 {
            for (lane, ageing) in self.lanes.iter_mut().enumerate() {
                ageing.passed_over(self.shares.is_ready(lane), now);
            }
        }
        self.note_probe(&builder, now);
        let (pieces, launched, taken) = builder.finish();
        self.taken = taken;
        if pieces.is_empty() {
            self.spare.push(pieces);
            self.spare_launched.push(launched);
            return None;
        }
        Some((first.unwrap_or(0), Level { pieces }, launched))
    }

    /// Whether work of a lane may go into a level now.
    fn may_join(&self, lane: usize, place: Place, first: Option<usize>, exempt: Exempt) -> bool {
        if exempt == Exempt::Yes {
            return true;
        }
        let home = self.config.lanes.home(place.queue) as usize;
        if lane < home && self.shares.is_present(home) && self.queues.len() > 1 {
            return false;
        }
        // Work of lower priority never holds a level of a higher one up, and has two slices in flight.
        let lower = lane < place.highest;
        let slices: usize = self.in_flight[..place.highest].iter().sum();
        match first {
            Some(first) => lower == (first < place.highest),
            None => !lower || slices < LOWER_SLICES,
        }
    }

    /// How much of a lane's work fits a level.
    fn limit(&self, builder: &mut Builder, lane: usize, place: Place) {
        let slices = &self.config.slices;
        let limit = if lane < place.highest {
            slices.below_others
        } else {
            match self.shares.policy.mode {
                Mode::ExclusiveThroughput => slices.exclusive,
                Mode::CooperativeFairshare => slices.cooperative,
            }
        };
        builder.limit_cost(ns(limit));
    }

    /// How long a client's jobs may be before they are cut; None for any length.
    fn slice_ns(&self, client: ClientKey, place: Place) -> Option<u64> {
        let slices = &self.config.slices;
        if self.shares.lane(client) < place.highest {
            return Some(ns(slices.below_others));
        }
        let equals = match self.shares.policy.mode {
            Mode::ExclusiveThroughput => slices.exclusive,
            Mode::CooperativeFairshare => slices.cooperative,
        };
        if self.shares.is_capped(client) {
            return Some(ns(equals.min(slices.exclusive)));
        }
        self.shares.has_rivals(client).then(|| ns(equals))
    }

    /// Whether a level may be given to one job to measure it. Where only one level runs at a time, all that costs is company
    /// in it.
    fn measure(&self, place: Place, now: Duration) -> Measure {
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

    fn note_probe(&mut self, builder: &Builder, now: Duration) {
        if builder.wants_quiet() && builder.is_empty() {
            self.probe.quiet_since = Some(now);
        } else if builder.measures() {
            let since = self.probe.quiet_since.take();
            self.probe.since = Some(since.unwrap_or(now));
            self.probe.begins = true;
        }
    }

    /// Users with a reserve that is not used up come before everybody.
    fn take_owed(&mut self, place: Place, builder: &mut Builder, first: &mut Option<usize>) {
        while let Some(next) = self.shares.next_owed() {
            let lane = self.shares.lane(next.client);
            self.limit(builder, lane, place);
            if builder.is_full() || self.take_one(place, next, builder, first).is_none() {
                return;
            }
        }
    }

    /// The first `bound` streams of those bound to the queue.
    fn take_bound(
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
                    if let Some(charged_ns) = self.take(key, place, allowance_ns, builder) {
                        self.shares.charge(client, charged_ns);
                        first.get_or_insert(lane);
                    }
                }
                None => self.queues[place.queue].bound[lane].push_back((key, entry)),
            }
        }
    }

    /// At most `share` streams of a common lane, in the order of what their clients have had: how many.
    fn take_common(
        &mut self,
        place: Place,
        lane: usize,
        share: usize,
        builder: &mut Builder,
        first: &mut Option<usize>,
        now: Duration,
    ) -> usize {
        let aged = self.lanes[lane].is_due(now);
        let mut taken = 0;
        let before = self.shares.streams(lane);
        while taken < share && !builder.is_full() && !self.shares.are_many_aside() {
            let Some(next) = self.shares.next(lane, place.idle) else {
                break;
            };
            match self.take_one(place, next, builder, first) {
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
    fn take_one(
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
            let Some(key) = self.shares.pop(client) else {
                break;
            };
            let Some(more_ns) = self.take(key, place, next.allowance_ns, builder) else {
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
    fn take(
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
            self.shares.push_front(client, key);
            return None;
        }
        self.list(key);
        (taken.pieces > 0).then_some(taken.charged_ns)
    }
}

impl crate::Probe {
    /// Whether the level that was just built is the one.
    fn begins(&mut self) -> bool {
        std::mem::take(&mut self.begins)
    }
}

impl crate::Ageing {
    /// Its work was passed over for so long that it comes first.
    fn is_due(&self, now: Duration) -> bool {
        self.since
            .is_some_and(|since| now >= self.due.max(since + AGE))
    }

    fn passed_over(&mut self, has_work: bool, now: Duration) {
        self.since = match has_work {
            true => self.since.or(Some(now)),
            false => None,
        };
    }

    /// However long its work is, it has no more than a small part of the time while others come first.
    fn served(&mut self, cost: Duration, aged: bool, now: Duration) {
        if aged {
            self.due = now + cost * FLOOR_PART;
        } else {
            self.since = None;
        }
    }
}

/// As long as the levels of one launch may take while they are short: by then a queue of ordinary streams was idle once.
const HUNGER: Duration = Duration::from_millis(1);
/// Levels of one launch while they are short: a chain of dependent jobs then costs one submission to the driver.
const SHORT_LEVELS: usize = 4;
/// Clients that are waited for may take so much longer than twice their average.
const HOLD: Duration = Duration::from_micros(10);
/// A lane that was passed over for so long comes first, once.
const AGE: Duration = Duration::from_millis(20);
/// A lane that others precede has one part of so many for sure.
const FLOOR_PART: u32 = 20;
/// What a client has before others are looked at: streams, and device time. Looking costs as much as taking.
const VISIT_STREAMS: usize = 8;
const VISIT_NS: u64 = 100_000;
/// Levels of all priorities below the highest that has work: one runs, and one is there when it ends.
const LOWER_SLICES: usize = 2;
/// The device is not kept free for a measurement behind work that takes longer than this.
const LONG_DRAIN: Duration = Duration::from_millis(20);
