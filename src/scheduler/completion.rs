//! What a completed level tells: whose jobs are over, what they took, and what later ones will.

use crate::cost::Sample;
use crate::level::Launched;
use crate::probe::PROBE_PART;
use crate::{Action, SPARE, Scheduler, ns};
use std::time::Duration;

impl Scheduler {
    /// The oldest level of a queue has completed.
    pub(crate) fn completed(
        &mut self,
        queue: usize,
        took: Duration,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let state = &mut self.queues[queue];
        let Some(level) = state.levels.pop_front() else {
            return;
        };
        self.device.advance(now);
        let jobs = u32::try_from(level.pieces.len()).unwrap_or(u32::MAX);
        let elapsed = now.saturating_sub(state.begun);
        let shared = self.device.time.saturating_sub(state.begun_shared) * jobs;
        (state.begun, state.begun_shared) = (now, self.device.time);
        let alone = state.alone;
        state.alone = self.device.queues == 1;
        if level.last_of_launch {
            state.launches -= 1;
        }
        self.in_flight[level.lane] -= 1;
        self.in_flight_ns -= level.cost_ns;
        self.device.ended(jobs);
        match state.levels.front() {
            Some(next) => self.device.began(next.pieces.len()),
            None => self.device.queues -= 1,
        }
        self.level_time = (self.level_time * 7 + elapsed) / 8;
        if let Some(since) = self.probe.since.take_if(|_| level.probe) {
            self.probe.next = now + now.saturating_sub(since) * PROBE_PART;
        }
        // Of the time that the caller measured, what was not that of jobs on other queues.
        let part_ns = match shared < elapsed {
            true => part(ns(took), ns(shared), ns(elapsed)),
            false => ns(took),
        };
        let alone = alone && level.pieces.len() == 1;
        let mut pieces = level.pieces;
        self.settle(&pieces, ns(took), part_ns, alone, actions);
        pieces.clear();
        if self.spare_launched.len() < SPARE {
            self.spare_launched.push(pieces);
        }
    }

    /// Ends the pieces of a level, corrects what they were charged, and learns from what they took.
    fn settle(
        &mut self,
        pieces: &[Launched],
        level_ns: u64,
        part_ns: u64,
        alone: bool,
        actions: &mut Vec<Action>,
    ) {
        let lengths = pieces.iter().map(|piece| piece.length_ns).sum();
        self.note_slowdown(pieces, level_ns);
        for launched in pieces {
            let key = launched.stream;
            let client = self.streams[key.0 as usize].client;
            let part_ns = part(part_ns, launched.length_ns, lengths);
            if level_ns > 0 {
                let sample = Sample {
                    units: launched.piece.to - launched.piece.from,
                    part_ns,
                    level_ns,
                    alone,
                    slowdown: self.slowdown,
                };
                let costs = &mut self.shares.client_mut(client).costs;
                let own_ns = costs.learn(launched.kind, launched.whole, sample, &mut self.priors);
                let charge_ns = part(launched.charged_ns, own_ns, launched.length_ns);
                if charge_ns != launched.charged_ns {
                    let less_ns = i128::from(launched.charged_ns) - i128::from(charge_ns);
                    let less_ns = i64::try_from(less_ns).unwrap_or(i64::MIN);
                    self.shares.correct(client, less_ns);
                }
            }
            let stream = &mut self.streams[key.0 as usize];
            stream.in_flight -= 1;
            stream.spent_ns = stream.spent_ns.saturating_add(part_ns);
            if launched.piece.last {
                let device_time = Duration::from_nanos(std::mem::take(&mut stream.spent_ns));
                let job = launched.piece.job;
                actions.push(Action::Retired { job, device_time });
                self.shares.job_over(client);
            }
            let stream = &mut self.streams[key.0 as usize];
            if stream.in_flight == 0 {
                stream.queue = None;
                self.list(key);
                self.release(key);
            }
        }
    }

    fn note_slowdown(&mut self, pieces: &[Launched], level_ns: u64) {
        let Some(first) = pieces.first().filter(|first| first.length_ns > 0) else {
            return;
        };
        let client = self.streams[first.stream.0 as usize].client;
        if level_ns > 0 && self.shares.client(client).costs.is_measured(first.kind) {
            let now = (level_ns.saturating_mul(256) / first.length_ns).clamp(256, 256 * 256);
            self.slowdown = (self.slowdown * 7 + now) / 8;
        }
    }
}

/// `value` times `part` over `whole`.
fn part(value: u64, part: u64, whole: u64) -> u64 {
    if part == whole {
        return value;
    }
    if let Some(product) = value.checked_mul(part) {
        return product / whole.max(1);
    }
    let scaled = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
