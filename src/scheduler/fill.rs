//! Filling a queue: the levels of one launch, and who may have a place in them.

use crate::device::InFlight;
use crate::level::{Builder, Launched, Room};
use crate::share::LANES;
use crate::{Action, ClientKey, LONG_LEVEL, Level, Scheduler, ns};
use std::time::Duration;
use vkmps_protocol::share::Mode;

/// What one launch may take, and for which queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) queue: usize,
    /// Streams of the common lanes.
    pub(crate) streams: usize,
    /// Those come before bound ones.
    pub(crate) hungry: bool,
    /// The queue has nothing else to do.
    pub(crate) idle: bool,
    /// The highest lane that has work, or had some not long ago.
    pub(crate) highest: usize,
}

/// Whether a lane may exceed what its priority allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exempt {
    No,
    /// It was passed over for long.
    Yes,
}

impl Scheduler {
    /// Builds one launch for a queue from its bound streams and, where `common`, from the common lanes.
    pub(crate) fn fill(
        &mut self,
        queue: usize,
        common: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let mut place = Place {
            queue,
            streams: if common {
                self.streams_of_a_launch()
            } else {
                0
            },
            hungry: common && self.is_hungry(now),
            idle: self.queues[queue].launches == 0,
            highest: self.highest_present(),
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
            let cost_ns = self.level_cost_ns;
            // What could not share the level of one job that is to be measured has the next one.
            if pieces.len() > 1 {
                place.streams = 0;
            }
            place.idle = false;
            self.in_flight[lane] += 1;
            self.in_flight_ns += cost_ns;
            self.queues[queue].levels.push_back(InFlight {
                pieces,
                lane,
                cost_ns,
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
            self.queue_began(queue, now);
        }
        self.queues[queue].launches += 1;
        actions.push(Action::Launch { queue, levels });
    }

    /// Streams of the common lanes that one launch takes: all for one queue while they are few, else an equal part.
    fn streams_of_a_launch(&self) -> usize {
        let idle = (self.queues.len() - self.device.queues).max(1);
        self.ready_streams()
            .div_ceil(idle)
            .max(self.config.spread_jobs)
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
            self.spare_pieces.pop().unwrap_or_default(),
            self.spare_launched.pop().unwrap_or_default(),
            std::mem::take(&mut self.scratch),
        );
        let aged = (0..LANES).find(|lane| place.streams > 0 && self.lanes[*lane].is_due(now));
        let mut bound: [_; LANES] =
            std::array::from_fn(|lane| self.queues[place.queue].bound[lane].len());
        let mut first = None;
        if place.streams > 0 {
            self.take_owed(place, &mut builder, &mut first);
        }
        let mut left = place.streams;
        let others = (0..LANES).rev().filter(|lane| aged != Some(*lane));
        for lane in aged.into_iter().chain(others) {
            let exempt = match aged == Some(lane) && builder.is_empty() {
                true => Exempt::Yes,
                false => Exempt::No,
            };
            if !self.may_join(lane, place, first, exempt) {
                continue;
            }
            self.limit_level(&mut builder, lane, place);
            // A stream is taken from once: what it has left binds it to the queue, behind these.
            let bound = std::mem::take(&mut bound[lane]);
            if !place.hungry {
                self.take_bound(place, lane, bound, &mut builder, &mut first);
            }
            let most = match exempt {
                Exempt::Yes => left.min(1),
                Exempt::No => left,
            };
            let taken = self.take_common(place, lane, most, &mut builder, &mut first, now);
            left = left.saturating_sub(taken);
            if place.hungry {
                self.take_bound(place, lane, bound, &mut builder, &mut first);
            }
        }
        self.shares.restore();
        if place.streams > 0 {
            for (lane, ageing) in self.lanes.iter_mut().enumerate() {
                ageing.passed_over(self.shares.is_ready(lane), now);
            }
        }
        self.note_probe(&builder, now);
        self.level_cost_ns = builder.cost_ns();
        let (pieces, launched, taken) = builder.finish();
        self.scratch = taken;
        if pieces.is_empty() {
            self.spare_pieces.push(pieces);
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
        // These follow each other on one queue: at the same time they would be in the way twice.
        let here = self.queues[place.queue].levels.iter();
        let here = here.filter(|level| level.lane < place.highest).count();
        match first {
            Some(first) => lower == (first < place.highest),
            None => !lower || slices < LOWER_SLICES && slices == here,
        }
    }

    /// How much of a lane's work fits a level.
    pub(crate) fn limit_level(&self, builder: &mut Builder, lane: usize, place: Place) {
        let limit = match lane < place.highest {
            true => self.config.slices.below_others,
            false => self.slice_among_equals(),
        };
        builder.limit_cost(ns(limit));
    }

    /// How long a client's jobs may be before they are cut; None for any length.
    pub(crate) fn slice_ns(&self, client: ClientKey, place: Place) -> Option<u64> {
        let slices = &self.config.slices;
        if self.shares.lane(client) < place.highest {
            return Some(ns(slices.below_others));
        }
        let equals = self.slice_among_equals();
        if self.shares.is_capped(client) {
            return Some(ns(equals.min(slices.exclusive)));
        }
        self.shares.has_rivals(client).then(|| ns(equals))
    }

    /// The highest lane that has work, or had some not long ago.
    pub(crate) fn highest_present(&self) -> usize {
        let present = (0..LANES).rev().find(|lane| self.shares.is_present(*lane));
        present.unwrap_or(0)
    }

    pub(crate) fn slice_among_equals(&self) -> Duration {
        match self.shares.policy.mode {
            Mode::ExclusiveThroughput => self.config.slices.exclusive,
            Mode::CooperativeFairshare => self.config.slices.cooperative,
        }
    }
}

/// Levels of one launch while they are short: a chain of dependent jobs then costs one submission to the driver.
const SHORT_LEVELS: usize = 4;
/// Levels of all priorities below the highest that has work: one runs, and one is there when it ends.
const LOWER_SLICES: usize = 2;
