//! What the device was given, written where administrators can look; layout in [`vkmps_protocol::recorder`].
//!
//! Always on: a record is nine plain stores, and no call of the system.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use vkmps_ipc::SystemError;
use vkmps_ipc::memory::Region;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::recorder::{Entry, Event, Level, RECORDER_BYTES, WRITTEN, offset};

/// The ring, mapped, and where in it we are.
#[derive(Debug)]
pub(crate) struct Recorder {
    region: Region,
    written: u64,
    /// CLOCK_MONOTONIC when the engine's clock was 0.
    epoch: Duration,
    queues: Vec<Queue>,
}

/// Numbers of a queue's levels: the next to be recorded, submitted, completed.
#[derive(Debug, Default)]
struct Queue {
    recorded: u32,
    submitted: u32,
    completed: u32,
    /// Of levels that are recorded and not submitted.
    pieces: VecDeque<u32>,
}

impl Recorder {
    /// Goes on where the last engine ended.
    pub(crate) fn map(fd: &OwnedFd) -> Result<Self, SystemError> {
        let region = Region::map(fd, 0, RECORDER_BYTES)?;
        let written = region.u64(WRITTEN).load(Ordering::Acquire);
        Ok(Self {
            region,
            written,
            epoch: Duration::ZERO,
            queues: Vec::new(),
        })
    }

    /// An engine with so many queues begins; its clock began at `epoch`.
    pub(crate) fn begin(&mut self, epoch: Duration, queues: usize) {
        self.epoch = epoch;
        self.queues.resize_with(queues, Queue::default);
        let at_ns = self.at_ns(Duration::ZERO);
        let queues = place(queues);
        self.write(&Entry::Started { at_ns, queues });
    }

    /// The level that is recorded next on a queue.
    pub(crate) fn level(&self, queue: usize) -> Level {
        Level {
            queue: place(queue),
            number: self.queues[queue].recorded,
        }
    }

    /// Something of that level, or of a session.
    #[inline]
    pub(crate) fn write(&mut self, entry: &Entry) {
        // A reader that sees a word of this record sees the count that was before it, too.
        fence(Ordering::Release);
        let words = entry.encode(self.written);
        self.region.write_words(offset(self.written), &words);
        self.written = self.written.wrapping_add(1);
        self.region
            .u64(WRITTEN)
            .store(self.written, Ordering::Release);
    }

    /// That level has so many pieces, all written.
    pub(crate) fn recorded(&mut self, queue: usize, pieces: u32) {
        let queue = &mut self.queues[queue];
        queue.pieces.push_back(pieces);
        queue.recorded = queue.recorded.wrapping_add(1);
    }

    /// So many levels of a queue go to the device: all that were recorded, or one that was not, for it has no pieces.
    pub(crate) fn submitted(&mut self, queue: usize, levels: usize, now: Duration) {
        let at_ns = self.at_ns(now);
        for _ in 0..levels {
            let state = &mut self.queues[queue];
            let number = state.submitted;
            state.submitted = number.wrapping_add(1);
            let pieces = state.pieces.pop_front().unwrap_or_else(|| {
                state.recorded = state.submitted;
                0
            });
            let queue = place(queue);
            self.write(&Entry::Submitted {
                level: Level { queue, number },
                at_ns,
                pieces,
            });
        }
    }

    /// The oldest level on a queue is over.
    pub(crate) fn completed(&mut self, queue: usize, now: Duration, took: Duration) {
        let state = &mut self.queues[queue];
        let number = state.completed;
        state.completed = number.wrapping_add(1);
        let queue = place(queue);
        let (at_ns, took_ns) = (self.at_ns(now), ns(took));
        self.write(&Entry::Completed {
            level: Level { queue, number },
            at_ns,
            took_ns,
        });
    }

    /// Something befell a session.
    pub(crate) fn mark(&mut self, session: SessionId, event: Event, now: Duration) {
        let at_ns = self.at_ns(now);
        self.write(&Entry::Mark {
            session,
            at_ns,
            event,
        });
    }

    /// A time of the engine's clock on everybody's.
    pub(crate) fn at_ns(&self, now: Duration) -> u64 {
        ns(self.epoch + now)
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// No device has as many queues as a byte has values.
fn place(queue: usize) -> u8 {
    u8::try_from(queue).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vkmps_ipc::memory::sealed_memfd;
    use vkmps_protocol::recorder::{RECORDS, Words};

    fn memory() -> (OwnedFd, Region) {
        let memory = sealed_memfd("recorder", RECORDER_BYTES as u64).unwrap();
        let region = Region::map(&memory, 0, RECORDER_BYTES).unwrap();
        (memory, region)
    }

    fn entry(region: &Region, number: u64) -> Option<Entry> {
        let mut words = Words::default();
        region.read_words(offset(number), &mut words);
        Entry::decode(&words, number)
    }

    fn level(queue: u8, number: u32) -> Level {
        Level { queue, number }
    }

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn levels_are_numbered_by_queue_and_memory_is_cleared_between_them() {
        let (memory, region) = memory();
        let mut recorder = Recorder::map(&memory).unwrap();
        recorder.begin(us(7), 2);
        assert_eq!(recorder.level(1), level(1, 0));
        recorder.recorded(1, 3);
        assert_eq!(recorder.level(1), level(1, 1));
        recorder.recorded(1, 4);
        recorder.submitted(1, 2, us(1));
        recorder.submitted(1, 1, us(2));
        recorder.completed(1, us(3), us(2));
        assert_eq!(recorder.level(1), level(1, 3));
        assert_eq!(recorder.level(0), level(0, 0));
        let submitted = |number, at_ns, pieces| Entry::Submitted {
            level: level(1, number),
            at_ns,
            pieces,
        };
        let completed = Entry::Completed {
            level: level(1, 0),
            at_ns: 10_000,
            took_ns: 2_000,
        };
        let written: Vec<_> = (0..6).map(|number| entry(&region, number)).collect();
        let started = Entry::Started {
            at_ns: 7_000,
            queues: 2,
        };
        assert_eq!(
            written,
            [
                Some(started),
                Some(submitted(0, 8_000, 3)),
                Some(submitted(1, 8_000, 4)),
                Some(submitted(2, 9_000, 0)),
                Some(completed),
                None
            ]
        );
    }

    #[test]
    fn the_next_engine_goes_on_where_the_last_one_ended() {
        let (memory, region) = memory();
        let mut first = Recorder::map(&memory).unwrap();
        first.begin(us(1), 1);
        for _ in 0..RECORDS {
            first.mark(SessionId(3), Event::Ended, us(1));
        }
        drop(first);
        Recorder::map(&memory).unwrap().begin(us(9), 1);
        let number = RECORDS + 1;
        assert_eq!(region.u64(WRITTEN).load(Ordering::Acquire), number + 1);
        assert!(matches!(
            entry(&region, number),
            Some(Entry::Started { at_ns: 9_000, .. })
        ));
        assert!(matches!(entry(&region, 2), Some(Entry::Mark { .. })));
        assert_eq!(entry(&region, 1), None, "it was written over");
    }
}
