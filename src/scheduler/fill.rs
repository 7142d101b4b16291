//! Filling queues: which work goes into the next launch.

use crate::level::{Builder, Launched};
use crate::share::LANES;
use crate::stream::Listed;
use crate::{Action, InFlight, LONG_LEVEL, Level, SLOW_ARRIVALS, Scheduler, StreamKey};
use std::time::Duration;

/// What one level may take.
#[derive(Debug, Clone, Copy)]
struct Room {
    queue: usize,
    /// Streams of the common lanes.
    share: usize,
    /// Those come before bound ones.
    hungry: bool,
    /// The queue has nothing else to do.
    idle: bool,
}

impl Scheduler {
    /// Fills queues that want work.
    pub fn launch(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.waiting == 0 {
            return;
        }
        self.shares.expire(now);
        for queue in 0..self.queues.len() {
            let launches = self.queues[queue].launches;
            match launches {
                0 if self.gathers(now) || self.holds(now) => {}
                0 => self.fill(queue, true, now, actions),
                1 => {
                    let long = self.level_time >= LONG_LEVEL && !self.idle_queue();
                    let lanes = self.is_hungry(now) || long;
                    self.fill(queue, lanes, now, actions);
                }
                _ => {}
            }
        }
    }

    /// Whether work waits for company, or for somebody whose turn it is, with a queue idle: [`Self::launch`] is to be
    /// called again soon, no event tells when.
    pub fn gathering(&self) -> bool {
        (self.waiting_since.is_some() || self.holding_since.is_some()) && self.ready() > 0
    }

    /// Streams of the common lanes.
    fn ready(&self) -> usize {
        (0..LANES).map(|lane| self.shares.streams(lane)).sum()
    }

    /// Whether an idle queue waits a little for more: each launch costs the engine and the device a fixed time, so many
    /// small ones are slower than few larger ones. Only while others keep the device busy and company is near.
    fn gathers(&mut self, now: Duration) -> bool {
        let ready = self.ready();
        if ready == 0 {
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        let busy = self.queues.iter().any(|queue| queue.launches > 0);
        let gathers = busy
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
    /// 2001). Only where the wait is shorter than the work that it delays.
    fn holds(&mut self, now: Duration) -> bool {
        let patience = self.shares.awaited().and_then(|awaited| {
            let aged = self.lanes[self.shares.lane(awaited.leader)].is_due(now);
            let leader = self.shares.client(awaited.leader);
            let head = self.streams[leader.ready.front()?.0 as usize].head()?;
            let length = leader.costs.predict(head.work).length;
            (!aged && awaited.pause <= length).then_some(awaited.pause * 2 + HOLD)
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
        self.queues.iter().any(|queue| queue.launches == 0)
    }

    /// Builds one launch for a queue from its bound streams and, where `lanes`, from the common ones.
    fn fill(&mut self, queue: usize, lanes: bool, now: Duration, actions: &mut Vec<Action>) {
        let share = if lanes { self.share() } else { 0 };
        let rounds = if self.level_time >= LONG_LEVEL {
            1
        } else {
            SHORT_LEVELS
        };
        let mut room = Room {
            queue,
            share,
            hungry: lanes && self.is_hungry(now),
            idle: self.queues[queue].launches == 0,
        };
        let mut levels = Vec::new();
        for _ in 0..rounds {
            let Some((level, jobs)) = self.level(room, now) else {
                break;
            };
            // What could not share the level of one job that is to be measured has the next one.
            if jobs.len() > 1 {
                room.share = 0;
            }
            room.idle = false;
            self.waiting -= jobs.len();
            self.queues[queue].levels.push_back(InFlight {
                jobs,
                last_of_launch: false,
            });
            levels.push(level);
        }
        let state = &mut self.queues[queue];
        if let Some(last) = state.levels.back_mut().filter(|_| !levels.is_empty()) {
            last.last_of_launch = true;
            if state.launches == 0 {
                self.device.advance(now);
                let first = state.levels.front().map_or(0, |level| level.jobs.len());
                self.device.began(first);
                (state.begun, state.begun_shared) = (now, self.device.time);
            }
            state.launches += 1;
            actions.push(Action::Launch { queue, levels });
        }
    }

    /// Streams of the common lanes that one launch takes: all for one queue while they are few, else an equal part.
    fn share(&self) -> usize {
        let idle = self
            .queues
            .iter()
            .filter(|queue| queue.launches == 0)
            .count()
            .max(1);
        self.ready().div_ceil(idle).max(self.config.spread_jobs)
    }

    /// One level: heads of streams, and what follows them without a conflict. Higher priorities come first; within one,
    /// bound streams, unless the common ones are hungry.
    fn level(&mut self, room: Room, now: Duration) -> Option<(Level, Vec<Launched>)> {
        let may_measure = self.unmeasured >= MEASURE_EVERY;
        let spare = self.spare.pop().unwrap_or_default();
        let mut builder = Builder::new(self.config.level_jobs, spare, may_measure);
        let aged = (0..LANES).find(|lane| room.share > 0 && self.lanes[*lane].is_due(now));
        let mut bound: [_; LANES] =
            std::array::from_fn(|lane| self.queues[room.queue].bound[lane].len());
        // What rides behind other work would be in the way of the highest lane, which is at work, when it comes back.
        let lowest = match room.idle {
            true => 0,
            false => self.shares.highest_active().unwrap_or(0),
        };
        let mut left = room.share;
        let others = (0..LANES).rev().filter(|lane| aged != Some(*lane));
        for lane in aged.into_iter().chain(others) {
            if lane < lowest && aged != Some(lane) {
                continue;
            }
            // A flood of a higher priority leaves each lower lane one stream of every launch, if that is short.
            let lower = (0..lane).filter(|lane| left > 0 && self.shares.streams(*lane) > 0);
            let reserved = if aged == Some(lane) { 0 } else { lower.count() };
            builder.keep_free(reserved);
            // A stream is taken from once: what it has left binds it to the queue, behind these.
            let bound = std::mem::take(&mut bound[lane]);
            if !room.hungry {
                self.take_bound(room.queue, lane, bound, &mut builder);
            }
            let mut share = left.saturating_sub(reserved).max(1).min(left);
            if aged == Some(lane) && builder.is_empty() {
                share = share.min(1);
            }
            left -= self.take_common(room, lane, share, &mut builder, now);
            if room.hungry {
                self.take_bound(room.queue, lane, bound, &mut builder);
            }
        }
        self.shares.restore();
        if room.share > 0 {
            for (lane, ageing) in self.lanes.iter_mut().enumerate() {
                ageing.passed_over(self.shares.streams(lane) > 0, now);
            }
        }
        self.unmeasured = match builder.measures() {
            true => 0,
            false => self.unmeasured.saturating_add(1),
        };
        builder.finish()
    }

    /// The first `bound` streams of those bound to the queue.
    fn take_bound(&mut self, queue: usize, lane: usize, bound: usize, builder: &mut Builder) {
        for _ in 0..bound.min(2 * self.config.level_jobs) {
            if builder.is_full() {
                return;
            }
            let Some((key, entry)) = self.queues[queue].bound[lane].pop_front() else {
                return;
            };
            let stream = &self.streams[key.0 as usize];
            if stream.entry != entry || stream.listed != Listed::Bound(queue) {
                continue;
            }
            match self.shares.may_go(stream.client) {
                Some(allowance) => {
                    self.take(key, queue, allowance, builder);
                }
                None => self.queues[queue].bound[lane].push_back((key, entry)),
            }
        }
    }

    /// At most `share` streams of a common lane, in the order of what their clients have had: how many.
    fn take_common(
        &mut self,
        room: Room,
        lane: usize,
        share: usize,
        builder: &mut Builder,
        now: Duration,
    ) -> usize {
        let aged = self.lanes[lane].is_due(now);
        let mut taken = 0;
        while taken < share && !builder.is_full() && !self.shares.are_many_aside() {
            let Some(next) = self.shares.next(lane, room.idle) else {
                break;
            };
            let Some(key) = self.shares.pop(next.client) else {
                self.shares.list(next.client);
                continue;
            };
            let cost = self.take(key, room.queue, next.allowance, builder);
            if cost.is_zero() {
                // Not of this level's kind; its other streams may be, but looking for one has no end.
                self.shares.set_aside(next.client);
                continue;
            }
            taken += 1;
            self.hungry_since = None;
            self.lanes[lane].served(cost, aged, now);
            self.shares.list(next.client);
        }
        taken
    }

    /// Moves what fits from a stream into the level, charges its client and says how much that was; the stream is listed
    /// again if work is left.
    fn take(
        &mut self,
        key: StreamKey,
        queue: usize,
        allowance: Duration,
        builder: &mut Builder,
    ) -> Duration {
        let stream = &mut self.streams[key.0 as usize];
        let client = stream.client;
        let was = std::mem::replace(&mut stream.listed, Listed::No);
        let costs = &self.shares.client(client).costs;
        let (count, cost) = builder.take(key, stream, costs, allowance);
        if count > 0 {
            stream.queue = Some(queue);
            stream.in_flight += count;
            self.shares.charge(client, cost);
        } else if was == Listed::Lane {
            // It keeps its place.
            stream.listed = Listed::Lane;
            self.shares.push_front(client, key);
            return Duration::ZERO;
        }
        self.list(key);
        cost
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

    fn served(&mut self, cost: Duration, aged: bool, now: Duration) {
        self.since = None;
        if aged {
            // However long its work is, it has no more than a small part of the time while others come first.
            self.due = now + cost * FLOOR_PART;
        }
    }
}

/// As long as the levels of one launch may take while they are short: by then a queue of ordinary streams was idle once.
const HUNGER: Duration = Duration::from_millis(1);
/// Levels of one launch while they are short: a chain of dependent jobs then costs one submission to the driver.
const SHORT_LEVELS: usize = 4;
/// Clients that are waited for may take so much longer than twice their average.
const HOLD: Duration = Duration::from_micros(10);
/// Jobs whose length is to be measured again have one of so many levels.
const MEASURE_EVERY: u32 = 64;
/// A lane that was passed over for so long comes first, once.
const AGE: Duration = Duration::from_millis(20);
/// A lane that others precede has one part of so many for sure.
const FLOOR_PART: u32 = 20;
