//! Which queues want work now.

use crate::share::LANES;
use crate::{Action, LONG_LEVEL, SLOW_ARRIVALS, Scheduler, ns};
use std::time::Duration;

impl Scheduler {
    /// Fills queues that want work.
    pub fn launch(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.shares.now_ns = ns(now);
        self.shares.expire();
        if self.waiting > 0 && !self.is_quiet(now) {
            self.fill_queues(now, actions);
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

    /// Whether work waits for company, or for somebody whose turn it is, with a queue idle: [`Self::launch`] is to be
    /// called again soon, no event tells when.
    pub fn gathering(&self) -> bool {
        let waits = self.waiting_since.is_some() || self.holding_since.is_some();
        // What waits for something else as well is looked at when that happens.
        let free = !self.has_enough() && !self.probe.keeps_quiet();
        waits && free && self.ready_streams() > 0
    }

    /// When [`Self::launch`] is to be called at the latest, although nothing happens until then: somebody's cap will allow
    /// more work, or a REALTIME period ends.
    pub fn due(&self) -> Option<Duration> {
        self.shares.wakes_ns().map(Duration::from_nanos)
    }

    fn fill_queues(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let highest = self.highest_present();
        for queue in 0..self.queues.len() {
            let waits = self.shares.highest_ready();
            let state = &self.queues[queue];
            let bound = state.bound.iter().any(|bound| !bound.is_empty());
            if !bound && waits.is_none() {
                continue;
            }
            let precedes =
                waits.is_some_and(|lane| self.in_flight[..lane].iter().any(|count| *count > 0));
            // Slices of lower priorities follow each other on one queue.
            let lower = state
                .levels
                .back()
                .is_some_and(|level| level.lane < highest);
            let launches = state.launches;
            match launches {
                // More would only wait on the device, in an order that nobody decides.
                _ if self.has_enough() && !precedes => {}
                0 if self.gathers(now) || self.holds(now) => {}
                0 => self.fill(queue, true, now, actions),
                1 => {
                    let long = self.level_time >= LONG_LEVEL && !self.has_idle_queue();
                    let common =
                        long || lower || self.is_hungry(now) || precedes && self.outranks(queue);
                    if common || bound {
                        self.fill(queue, common, now, actions);
                    }
                }
                _ if precedes && self.outranks(queue) => self.fill(queue, true, now, actions),
                _ => {}
            }
            if self.probe.quiet_since.is_some() {
                break;
            }
        }
    }

    /// Whether the device has work for two slices, as far as is known: a share of what has not begun can be decided later.
    /// Where there is one queue, a second launch is all that is in flight anyway.
    fn has_enough(&self) -> bool {
        let enough_ns = 2 * ns(self.slice_among_equals());
        self.queues.len() > 1 && self.in_flight_ns >= enough_ns
    }

    /// Whether the first of those who wait comes before all that the queue has.
    fn outranks(&self, queue: usize) -> bool {
        let waits = self.shares.highest_ready();
        let has = self.queues[queue]
            .levels
            .iter()
            .map(|level| level.lane)
            .max();
        waits > has && self.queues[queue].launches < LANES && !self.has_idle_queue()
    }

    /// Whether an idle queue waits a little for more: each launch costs the engine and the device a fixed time, so many
    /// small ones are slower than few larger ones. Only while others keep the device busy and company is near.
    fn gathers(&mut self, now: Duration) -> bool {
        let ready = self.ready_streams();
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
    pub(crate) fn is_hungry(&mut self, now: Duration) -> bool {
        if self.ready_streams() == 0 {
            self.hungry_since = None;
            return false;
        }
        now.saturating_sub(*self.hungry_since.get_or_insert(now)) >= HUNGER
    }

    /// Streams of the common lanes.
    pub(crate) fn ready_streams(&self) -> usize {
        let ready = (0..LANES).filter(|lane| self.shares.is_ready(*lane));
        ready.map(|lane| self.shares.streams(lane)).sum()
    }
}

/// As long as the levels of one launch may take while they are short: by then a queue of ordinary streams was idle once.
const HUNGER: Duration = Duration::from_millis(1);
/// Clients that are waited for may take so much longer than twice their average.
const HOLD: Duration = Duration::from_micros(10);
