//! What is noted of work that goes to the device: records for those who trace, counters for all who look.

use crate::engine::Engine;
use std::time::Duration;
use vkmps_protocol::recorder::Entry;
use vkmps_scheduler::Level;

/// A job that goes to the device for the first time: index of its session, and when it was accepted.
pub(crate) type First = (usize, Duration);

impl Engine {
    /// Notes the pieces of a level that is recorded next on a queue.
    pub(crate) fn note_level(&mut self, queue: usize, level: &Level) {
        let at = self.recorder.level(queue);
        let mut pieces = 0;
        for piece in &level.pieces {
            let job = self.jobs.get(piece.job);
            let Some(session) = self.sessions[job.session].as_mut() else {
                continue;
            };
            self.recorder.write(&Entry::Piece {
                level: at,
                session: session.id,
                stream: u16::try_from(job.stream).unwrap_or(u16::MAX),
                job: job.number,
                program: job.program,
                units: piece.from..piece.to,
                total: job.units(),
            });
            pieces += 1;
            session.counters.slices += 1;
            session.counters.preemptions += u64::from(piece.preempted);
            if piece.from == 0 {
                self.firsts.push((job.session, job.accepted));
            } else {
                // It may be long until the job is over.
                self.ledger.count(session.slot, &session.counters);
            }
        }
        self.recorder.recorded(queue, pieces);
    }

    /// So many levels of a queue go to the device now.
    pub(crate) fn note_submitted(&mut self, queue: usize, levels: usize, now: Duration) {
        self.recorder.submitted(queue, levels, now);
        self.ledger.submitted(levels);
        for (index, accepted) in self.firsts.drain(..) {
            if let Some(session) = self.sessions[index].as_mut() {
                session.counters.waited(now.saturating_sub(accepted));
            }
        }
    }
}
