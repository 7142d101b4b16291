//! What the device did when, made of records.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::recorder::{Entry, Event, Level};

/// Batches of all queues with their pieces, in the order they ended. All times are CLOCK_MONOTONIC.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
    pub(super) batches: Vec<Batch>,
    pub(super) pieces: Vec<Piece>,
    pub(super) marks: Vec<Mark>,
    /// When an engine began.
    pub(super) starts_ns: Vec<u64>,
    queues: BTreeMap<u8, Queue>,
}

/// One level on the device. Those of a queue do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) level: Level,
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
    /// Its pieces, which ran at the same time.
    pub(super) pieces: Range<usize>,
    pub(super) state: State,
}

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// All of it.
    Whole,
    /// Its end was seen, what it was made of was not.
    Unknown,
    /// Its end was not seen.
    Unfinished,
}

/// Work of one job in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) session: SessionId,
    pub(super) stream: u16,
    pub(super) job: u64,
    pub(super) program: u64,
    pub(super) units: Range<u64>,
    pub(super) total: u64,
}

/// Something befell a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) session: SessionId,
    pub(super) at_ns: u64,
    pub(super) event: Event,
}

#[derive(Debug, Default)]
struct Queue {
    /// Of levels that are not submitted yet.
    recorded: Vec<(Level, Piece)>,
    /// Oldest first.
    submitted: VecDeque<(Level, u64, Vec<Piece>, State)>,
    /// When the last level ended.
    free_ns: u64,
}

impl Timeline {
    /// Nothing so far.
    pub(super) fn new(begin_ns: u64) -> Self {
        Self {
            begin_ns,
            end_ns: begin_ns,
            ..Self::default()
        }
    }

    /// The next record.
    pub(super) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Started { at_ns, queues } => {
                self.abandon(at_ns);
                self.queues = (0..queues).map(|queue| (queue, Queue::default())).collect();
                self.starts_ns.push(at_ns);
            }
            Entry::Piece {
                level,
                session,
                stream,
                job,
                program,
                units,
                total,
            } => {
                let piece = Piece {
                    session,
                    stream,
                    job,
                    program,
                    units,
                    total,
                };
                self.queue(level).recorded.push((level, piece));
            }
            Entry::Submitted {
                level,
                at_ns,
                pieces,
            } => {
                let queue = self.queue(level);
                // Several levels may be recorded before they are submitted, in order; records of earlier ones were lost.
                let is_late = |of: Level| of.number.wrapping_sub(level.number) >= 1 << 31;
                queue.recorded.retain(|(of, _)| !is_late(*of));
                let rest = queue.recorded.iter().position(|(of, _)| *of != level);
                let count = rest.unwrap_or(queue.recorded.len());
                let found: Vec<_> = queue
                    .recorded
                    .drain(..count)
                    .map(|(_, piece)| piece)
                    .collect();
                let state = match found.len() as u64 == u64::from(pieces) {
                    true => State::Whole,
                    false => State::Unknown,
                };
                queue.submitted.push_back((level, at_ns, found, state));
            }
            Entry::Completed {
                level,
                at_ns,
                took_ns,
            } => self.complete(level, at_ns, took_ns),
            Entry::Mark {
                session,
                at_ns,
                event,
            } => self.marks.push(Mark {
                session,
                at_ns,
                event,
            }),
        }
    }

    /// Nothing comes any more: what is on the device is shown up to here.
    pub(super) fn finish(&mut self, end_ns: u64) {
        self.abandon(end_ns);
        let last = self.batches.iter().map(|batch| batch.end_ns).max();
        self.end_ns = end_ns.max(last.unwrap_or(0)).max(self.begin_ns);
        // A batch that began earlier is shown from its beginning.
        let first = self.batches.iter().map(|batch| batch.begin_ns).min();
        self.begin_ns = self.begin_ns.min(first.unwrap_or(self.begin_ns));
    }

    /// Hardware queues that were used, or could have been.
    pub(super) fn queues(&self) -> Vec<u8> {
        self.queues.keys().copied().collect()
    }

    /// Each session's time on the device: batches are divided among their pieces.
    pub(super) fn shares_ns(&self) -> BTreeMap<u64, u64> {
        let mut shares = BTreeMap::new();
        for batch in &self.batches {
            let pieces = &self.pieces[batch.pieces.clone()];
            let time_ns = batch.end_ns - batch.begin_ns;
            for piece in pieces {
                let share: &mut u64 = shares.entry(piece.session.0).or_default();
                *share = share.saturating_add(time_ns / pieces.len() as u64);
            }
        }
        shares
    }

    fn queue(&mut self, level: Level) -> &mut Queue {
        self.queues.entry(level.queue).or_default()
    }

    fn complete(&mut self, level: Level, at_ns: u64, took_ns: u64) {
        let queue = self.queue(level);
        let place = queue.submitted.iter().position(|(of, ..)| *of == level);
        // The ends of those before it were lost.
        queue.submitted.drain(..place.unwrap_or(0));
        let known = place.and_then(|_| queue.submitted.pop_front());
        let (_, _, pieces, state) = known.unwrap_or((level, at_ns, Vec::new(), State::Unknown));
        let begin_ns = at_ns.saturating_sub(took_ns).max(queue.free_ns).min(at_ns);
        queue.free_ns = at_ns;
        self.push(level, begin_ns..at_ns, pieces, state);
    }

    fn push(&mut self, level: Level, time_ns: Range<u64>, pieces: Vec<Piece>, state: State) {
        let first = self.pieces.len();
        self.pieces.extend(pieces);
        self.batches.push(Batch {
            level,
            begin_ns: time_ns.start,
            end_ns: time_ns.end,
            pieces: first..self.pieces.len(),
            state,
        });
    }

    /// The end of what is on the device will not be seen.
    fn abandon(&mut self, at_ns: u64) {
        for (number, mut queue) in std::mem::take(&mut self.queues) {
            for (level, submitted_ns, pieces, _) in queue.submitted.drain(..) {
                let begin_ns = submitted_ns.max(queue.free_ns).min(at_ns);
                // Which of them runs is not known: the oldest, if it is one queue.
                queue.free_ns = at_ns;
                self.push(level, begin_ns..at_ns, pieces, State::Unfinished);
            }
            self.queues.insert(number, queue);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::trace) const fn level(queue: u8, number: u32) -> Level {
        Level { queue, number }
    }

    pub(in crate::trace) fn piece(level: Level, session: u64, job: u64) -> Entry {
        Entry::Piece {
            level,
            session: SessionId(session),
            stream: 0,
            job,
            program: 0xabc,
            units: 0..64,
            total: 128,
        }
    }

    pub(in crate::trace) fn submitted(level: Level, at_ns: u64, pieces: u32) -> Entry {
        Entry::Submitted {
            level,
            at_ns,
            pieces,
        }
    }

    pub(in crate::trace) fn completed(level: Level, at_ns: u64, took_ns: u64) -> Entry {
        Entry::Completed {
            level,
            at_ns,
            took_ns,
        }
    }

    pub(in crate::trace) fn timeline(entries: Vec<Entry>, end_ns: u64) -> Timeline {
        let mut timeline = Timeline::new(100);
        entries.into_iter().for_each(|entry| timeline.add(entry));
        timeline.finish(end_ns);
        timeline
    }

    fn times(timeline: &Timeline) -> Vec<(u32, Range<u64>, usize, State)> {
        let batches = timeline.batches.iter();
        batches
            .map(|batch| {
                let time = batch.begin_ns..batch.end_ns;
                (batch.level.number, time, batch.pieces.len(), batch.state)
            })
            .collect()
    }

    #[test]
    fn levels_that_were_recorded_together_have_their_own_pieces() {
        let (one, two) = (level(0, 7), level(0, 8));
        let timeline = timeline(
            vec![
                piece(one, 1, 1),
                piece(one, 2, 1),
                piece(two, 1, 2),
                submitted(one, 200, 2),
                submitted(two, 200, 1),
                completed(one, 300, 90),
                completed(two, 350, 60),
            ],
            400,
        );
        assert_eq!(
            times(&timeline),
            [
                (7, 210..300, 2, State::Whole),
                (8, 300..350, 1, State::Whole)
            ],
            "and do not overlap"
        );
        assert_eq!(timeline.shares_ns(), BTreeMap::from([(1, 95), (2, 45)]));
        assert_eq!((timeline.begin_ns, timeline.end_ns), (100, 400));
    }

    #[test]
    fn a_batch_whose_beginning_was_not_seen_is_one_of_unknown_work() {
        let timeline = timeline(
            vec![
                completed(level(3, 1), 150, 120),
                piece(level(3, 2), 1, 1),
                submitted(level(3, 2), 160, 2),
                completed(level(3, 2), 170, 5),
            ],
            200,
        );
        assert_eq!(
            times(&timeline),
            [
                (1, 30..150, 0, State::Unknown),
                (2, 165..170, 1, State::Unknown)
            ]
        );
        assert_eq!((timeline.begin_ns, timeline.queues()), (30, vec![3]));
    }

    #[test]
    fn what_does_not_end_is_shown_up_to_the_end() {
        let lost = level(0, 1);
        let timeline = timeline(
            vec![
                piece(lost, 1, 1),
                submitted(lost, 120, 1),
                submitted(level(0, 2), 125, 0),
                Entry::Started {
                    at_ns: 180,
                    queues: 2,
                },
                piece(level(0, 0), 1, 2),
                submitted(level(0, 0), 190, 1),
            ],
            200,
        );
        assert_eq!(
            times(&timeline),
            [
                (1, 120..180, 1, State::Unfinished),
                (2, 180..180, 0, State::Unfinished),
                (0, 190..200, 1, State::Unfinished)
            ]
        );
        assert_eq!(timeline.starts_ns, [180]);
        assert_eq!(timeline.queues(), [0, 1]);
    }

    #[test]
    fn records_that_were_lost_do_not_confuse_what_follows() {
        let timeline = timeline(
            vec![
                piece(level(0, 1), 1, 1),
                submitted(level(0, 1), 110, 1),
                piece(level(0, 2), 3, 1),
                piece(level(0, 3), 2, 1),
                submitted(level(0, 3), 120, 1),
                completed(level(0, 3), 150, 10),
            ],
            200,
        );
        assert_eq!(times(&timeline), [(3, 140..150, 1, State::Whole)]);
        assert_eq!(timeline.pieces[0].session, SessionId(2));
    }
}
