//! Layout of the recorder: what the device was given lately, in a ring that the engine writes all the time.
//!
//! vkmpsd makes the memory, keeps it over the lives of its engines, and hands administrators a descriptor that reads it.
//! Clients never see it: it tells of all of them.
//!
//! # Writing
//! One engine writes. For each record, in this order: the 8 words of its slot (slots are used one after the other, again
//! and again), then [`WRITTEN`], one more than before. A fence keeps what comes later, the next record's words, after it.
//! An engine goes on where the one before it ended; its first record is [`Entry::Started`].
//!
//! # Reading
//! Readers are never waited for, and may be lapped. They read [`WRITTEN`], copy the records that [`readable`] names, then
//! read [`WRITTEN`] again: a copied record counts only if it [`is_intact`] by then, since the engine may have been writing
//! over it meanwhile. Records are numbered without gaps from 0, so that a reader knows how many it lost.
//!
//! # Levels
//! A level is what one command buffer holds. Levels of a queue are numbered (modulo 2^32, anew with each engine) and run
//! one after the other. Of each there are first its pieces, then [`Entry::Submitted`], later [`Entry::Completed`].
//! A level without pieces zeroes memory.
//!
//! Points in time are nanoseconds of CLOCK_MONOTONIC.

use crate::handle::SessionId;
use std::ops::Range;

/// Records in the ring; a power of two. At half a million a second it goes round in an eighth of one.
pub const RECORDS: u64 = 65_536;
/// Bytes of a record: a line of the cache.
pub const RECORD_BYTES: usize = 64;
/// Bytes before the first record.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the memory.
pub const RECORDER_BYTES: usize = HEADER_BYTES + 65_536 * RECORD_BYTES;

/// Offset of [`MAGIC_NUMBER`] (`u64`); the daemon writes it.
pub const MAGIC: usize = 0;
/// Offset of a counter (`u64`), records ever written.
pub const WRITTEN: usize = 8;

/// "VKMPSRC" in ASCII and the version of this layout, little endian.
pub const MAGIC_NUMBER: u64 = 0x0143_5253_504d_4b56;

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A new engine: what was on the device is lost, levels are numbered anew.
    Started {
        /// When.
        at_ns: u64,
        /// Hardware queues that it uses.
        queues: u8,
    },
    /// A part of a job, or all of it, is in a level.
    Piece {
        /// Where.
        level: Level,
        /// Whose.
        session: SessionId,
        /// Stream of the session.
        stream: u16,
        /// The job: value of the submit in its stream.
        job: u64,
        /// Stands for the programs that the job runs: the same for jobs that run the same ones.
        program: u64,
        /// Which of the job's work units.
        units: Range<u64>,
        /// Work units of the whole job.
        total: u64,
    },
    /// A level was given to the device.
    Submitted {
        /// Which.
        level: Level,
        /// When.
        at_ns: u64,
        /// Records of its pieces, which came before this one.
        pieces: u32,
    },
    /// A level is over, as the engine saw it.
    Completed {
        /// Which.
        level: Level,
        /// When.
        at_ns: u64,
        /// What it had of its queue's time, as sessions are charged for it: no more than since the later of its submission
        /// and the end of the level before it on its queue.
        took_ns: u64,
    },
    /// Something befell a session.
    Mark {
        /// Which.
        session: SessionId,
        /// When.
        at_ns: u64,
        /// What.
        event: Event,
    },
}

/// A level by its queue and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level {
    /// Hardware queue.
    pub queue: u8,
    /// Counted modulo 2^32.
    pub number: u32,
}

/// What can befall a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It used its budget of the realtime lane up and runs in a lower one.
    Demoted,
    /// It has its lane again.
    Restored,
    /// It ended; what the device has of it goes on.
    Ended,
}

/// A record as it is written.
pub type Words = [u64; RECORD_BYTES / 8];

impl Entry {
    /// The words of record `number`: its number, kind and place, then what its kind has.
    #[inline]
    pub fn encode(&self, number: u64) -> Words {
        match self {
            Entry::Started { at_ns, queues } => {
                [number, head(1, *queues, 0, 0), *at_ns, 0, 0, 0, 0, 0]
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
                let head = head(2, level.queue, *stream, level.number);
                let (from, to) = (units.start, units.end);
                [number, head, session.0, *job, *program, from, to, *total]
            }
            Entry::Submitted {
                level,
                at_ns,
                pieces,
            } => {
                let head = head(3, level.queue, 0, level.number);
                [number, head, *at_ns, u64::from(*pieces), 0, 0, 0, 0]
            }
            Entry::Completed {
                level,
                at_ns,
                took_ns,
            } => {
                let head = head(4, level.queue, 0, level.number);
                [number, head, *at_ns, *took_ns, 0, 0, 0, 0]
            }
            Entry::Mark {
                session,
                at_ns,
                event,
            } => {
                let event = match event {
                    Event::Demoted => 1,
                    Event::Restored => 2,
                    Event::Ended => 3,
                };
                [number, head(5, 0, event, 0), *at_ns, session.0, 0, 0, 0, 0]
            }
        }
    }

    /// What these words tell, if they are record `number`.
    pub fn decode(words: &Words, number: u64) -> Option<Self> {
        let [found, head, first, second, third, fourth, fifth, sixth] = *words;
        if found != number {
            return None;
        }
        let [kind, queue, low, high, rest @ ..] = head.to_le_bytes();
        let extra = u16::from_le_bytes([low, high]);
        let level = Level {
            queue,
            number: u32::from_le_bytes(rest),
        };
        match kind {
            1 => Some(Entry::Started {
                at_ns: first,
                queues: queue,
            }),
            2 => Some(Entry::Piece {
                level,
                session: SessionId(first),
                stream: extra,
                job: second,
                program: third,
                units: fourth..fifth,
                total: sixth,
            }),
            3 => Some(Entry::Submitted {
                level,
                at_ns: first,
                pieces: u32::try_from(second).ok()?,
            }),
            4 => Some(Entry::Completed {
                level,
                at_ns: first,
                took_ns: second,
            }),
            5 => Some(Entry::Mark {
                session: SessionId(second),
                at_ns: first,
                event: match extra {
                    1 => Event::Demoted,
                    2 => Event::Restored,
                    3 => Event::Ended,
                    _ => return None,
                },
            }),
            _ => None,
        }
    }
}

/// Offset of a record's slot.
#[inline]
pub const fn offset(number: u64) -> usize {
    HEADER_BYTES + (number % RECORDS) as usize * RECORD_BYTES
}

/// Records from `next` on that may be in the ring, when so many were written. Those between `next` and the first of them
/// are lost.
pub fn readable(next: u64, written: u64) -> Range<u64> {
    let oldest = written.saturating_sub(RECORDS - 1);
    // A ring that counts backwards is another one, or broken: nothing is lost, and nothing is there.
    next.max(oldest).min(written)..written
}

/// Whether a copy of record `number` is whole, when so many were written *after* it was made.
pub const fn is_intact(number: u64, written: u64) -> bool {
    // The engine may be writing the record of this number, over the one a whole ring before it.
    written.wrapping_sub(number) < RECORDS
}

/// `place` is the queue, `extra` what else is small.
#[inline]
const fn head(kind: u8, place: u8, extra: u16, level: u32) -> u64 {
    let [low, high] = extra.to_le_bytes();
    let [a, b, c, d] = level.to_le_bytes();
    u64::from_le_bytes([kind, place, low, high, a, b, c, d])
}

const _: () = assert!(RECORDS.is_power_of_two());
const _: () = assert!(RECORDER_BYTES as u64 == HEADER_BYTES as u64 + RECORDS * RECORD_BYTES as u64);
const _: () = assert!(size_of::<Words>() == RECORD_BYTES);
const _: () = assert!(MAGIC_NUMBER.to_le_bytes()[7] == 1 && WRITTEN + 8 <= HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn level() -> Level {
        Level {
            queue: 7,
            number: 0xfedc_ba98,
        }
    }

    #[test]
    fn every_entry_survives_the_ring() {
        let mark = |event| Entry::Mark {
            session: SessionId(u64::MAX),
            at_ns: 5,
            event,
        };
        let entries = [
            Entry::Started {
                at_ns: 1,
                queues: 16,
            },
            Entry::Piece {
                level: level(),
                session: SessionId(2),
                stream: 255,
                job: 3,
                program: 4,
                units: 5..u64::MAX - 1,
                total: u64::MAX,
            },
            Entry::Submitted {
                level: level(),
                at_ns: u64::MAX,
                pieces: u32::MAX,
            },
            Entry::Completed {
                level: level(),
                at_ns: 6,
                took_ns: 7,
            },
            mark(Event::Demoted),
            mark(Event::Restored),
            mark(Event::Ended),
        ];
        for (number, entry) in (9..).zip(entries) {
            let words = entry.encode(number);
            assert_eq!(Entry::decode(&words, number), Some(entry));
            assert_eq!(
                Entry::decode(&words, number + RECORDS),
                None,
                "an older one"
            );
        }
    }

    #[test]
    fn what_no_engine_writes_is_no_entry() {
        for head in [0, 6, u64::MAX, head(5, 0, 4, 0)] {
            assert_eq!(Entry::decode(&[1, head, 0, 0, 0, 0, 0, 0], 1), None);
        }
        let pieces = u64::from(u32::MAX) + 1;
        assert_eq!(
            Entry::decode(&[1, head(3, 0, 0, 0), 0, pieces, 0, 0, 0, 0], 1),
            None
        );
    }

    #[test]
    fn a_reader_that_was_lapped_begins_with_the_oldest_record_that_nobody_writes_over() {
        assert_eq!(readable(0, 0), 0..0);
        assert_eq!(readable(3, 10), 3..10);
        assert_eq!(readable(0, RECORDS - 1), 0..RECORDS - 1);
        // The slot of record 0 is the next to be written.
        assert_eq!(readable(0, RECORDS), 1..RECORDS);
        assert_eq!(readable(5, 9 * RECORDS), 8 * RECORDS + 1..9 * RECORDS);
        assert_eq!(readable(10, 4), 4..4);
        assert!(is_intact(1, RECORDS) && !is_intact(0, RECORDS));
        assert!(is_intact(7, 8));
        // A broken count is no reason to fail.
        assert!(!is_intact(7, 6) && is_intact(u64::MAX, 3));
        assert_eq!(readable(0, u64::MAX).end, u64::MAX);
    }
}
