//! What is noted of work that goes to the device: records for those who trace, counters for all who look.

use crate::engine::Engine;
use std::time::Duration;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::recorder::Entry;
use vkmps_scheduler::Level;

/// A job that goes to the device for the first time: index of its session, and when it was accepted.
pub(crate) type First = (usize, Duration);

/// Who was on a queue lately: the last session, and the last one other than that, each with its last level.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    last: Option<(SessionId, u32)>,
    other: Option<(SessionId, u32)>,
}

impl Tenants {
    /// A session has a piece in a level; levels come in order.
    fn saw(&mut self, session: SessionId, level: u32) {
        if self.last.is_none_or(|(last, _)| last != session) {
            self.other = self.last;
        }
        self.last = Some((session, level));
    }

    /// Whether another session had a piece in a level after this one.
    fn came_after(&self, session: SessionId, level: u32) -> bool {
        let other = match self.last {
            Some((last, _)) if last == session => self.other,
            last => last,
        };
        // Numbers wrap; what is compared is near.
        other.is_some_and(|(_, number)| (1..1 << 31).contains(&number.wrapping_sub(level)))
    }
}

impl Engine {
    /// Notes the pieces of a level that is recorded next on a queue.
    pub(crate) fn note_level(&mut self, queue: usize, level: &Level) {
        let at = self.recorder.level(queue);
        let tenants = &mut self.queues[queue].tenants;
        let mut pieces = 0;
        for key in &level.jobs {
            let job = self.jobs.get_mut(*key);
            let Some(session) = self.sessions[job.session].as_mut() else {
                continue;
            };
            self.recorder.write(&Entry::Piece {
                level: at,
                session: session.id,
                stream: u16::try_from(job.stream).unwrap_or(u16::MAX),
                job: job.number,
                program: 0,
                units: 0..job.units(),
                total: job.units(),
            });
            pieces += 1;
            session.counters.slices += 1;
            match job.last_level.replace(at.number) {
                None => self.firsts.push((job.session, job.accepted)),
                Some(before) => {
                    let preempted = tenants.came_after(session.id, before);
                    session.counters.preemptions += u64::from(preempted);
                    // It may be long until the job is over.
                    self.ledger.count(session.slot, &session.counters);
                }
            }
        }
        for key in &level.jobs {
            let session = self.sessions[self.jobs.get(*key).session].as_ref();
            session.inspect(|session| tenants.saw(session.id, at.number));
        }
        self.recorder.recorded(queue, pieces);
    }

    /// So many levels of a queue go to the device now.
    pub(crate) fn note_submitted(&mut self, queue: usize, levels: usize, now: Duration) {
        self.recorder.submitted(queue, levels, now);
        for (index, accepted) in self.firsts.drain(..) {
            if let Some(session) = self.sessions[index].as_mut() {
                session.counters.waited(now.saturating_sub(accepted));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(1);
    const TWO: SessionId = SessionId(2);

    #[test]
    fn only_work_of_others_comes_between_two_pieces() {
        let mut tenants = Tenants::default();
        assert!(!tenants.came_after(ONE, 0));
        tenants.saw(ONE, 5);
        tenants.saw(ONE, 6);
        assert!(!tenants.came_after(ONE, 5), "its own");
        tenants.saw(TWO, 7);
        assert!(tenants.came_after(ONE, 6));
        assert!(!tenants.came_after(ONE, 7), "it shared that level");
        tenants.saw(ONE, 8);
        tenants.saw(ONE, 9);
        assert!(tenants.came_after(ONE, 6), "whatever it did itself since");
        assert!(!tenants.came_after(ONE, 8) && tenants.came_after(TWO, 7));
    }

    #[test]
    fn numbers_of_levels_wrap() {
        let mut tenants = Tenants::default();
        tenants.saw(ONE, u32::MAX);
        tenants.saw(TWO, 2);
        assert!(tenants.came_after(ONE, u32::MAX));
        assert!(!tenants.came_after(ONE, 3));
    }
}
