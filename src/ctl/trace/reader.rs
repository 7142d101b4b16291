//! Reading the recorder while the engine writes it; layout and rules in [`vkmps_protocol::recorder`].

use crate::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use vkmps_protocol::recorder::{
    Entry, MAGIC, MAGIC_NUMBER, RECORD_BYTES, RECORDS, WRITTEN, Words, is_intact, offset, readable,
};

/// Takes records as they come.
#[derive(Debug)]
pub(super) struct Reader {
    ring: File,
    /// The next record to take.
    next: u64,
    lost: u64,
    buffer: Vec<u8>,
}

impl Reader {
    /// What is recorded from now on.
    pub(super) fn new(ring: File) -> Result<Self, Error> {
        let mut reader = Self {
            ring,
            next: 0,
            lost: 0,
            buffer: vec![0; BATCH * RECORD_BYTES],
        };
        if reader.word(MAGIC)? != MAGIC_NUMBER {
            return Err(Error::OtherRecorder);
        }
        reader.next = reader.word(WRITTEN)?;
        Ok(reader)
    }

    /// Records that were written over before they could be taken.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Hands over everything that was recorded since the last time, until there is nothing new or `take` has enough.
    pub(super) fn read(&mut self, mut take: impl FnMut(Entry) -> bool) -> Result<(), Error> {
        let mut goes_on = true;
        while goes_on {
            let there = readable(self.next, self.word(WRITTEN)?);
            self.lose(there.start.saturating_sub(self.next));
            self.next = there.start;
            // Little at a time, so that little is written over meanwhile; what lies together in the ring.
            let to_edge = RECORDS - self.next % RECORDS;
            let count = (there.end - there.start).min(to_edge).min(BATCH as u64);
            let Some(bytes) = usize::try_from(count).ok().filter(|count| *count > 0) else {
                return Ok(());
            };
            let bytes = &mut self.buffer[..bytes * RECORD_BYTES];
            let at = offset(self.next) as u64;
            self.ring.read_exact_at(bytes, at).map_err(unreadable)?;
            let written = word_of(&self.ring, WRITTEN)?;
            let mut lost = 0;
            for (record, number) in bytes.chunks_exact(RECORD_BYTES).zip(self.next..) {
                let entry =
                    is_intact(number, written).then(|| Entry::decode(&words(record), number));
                match entry.flatten() {
                    Some(entry) => goes_on &= take(entry),
                    None => lost += 1,
                }
            }
            self.lose(lost);
            self.next += count;
        }
        Ok(())
    }

    fn lose(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    fn word(&self, offset: usize) -> Result<u64, Error> {
        word_of(&self.ring, offset)
    }
}

fn word_of(ring: &File, offset: usize) -> Result<u64, Error> {
    let mut word = [0; 8];
    ring.read_exact_at(&mut word, offset as u64)
        .map_err(unreadable)?;
    Ok(u64::from_ne_bytes(word))
}

fn words(record: &[u8]) -> Words {
    let (chunks, _) = record.as_chunks();
    let mut words = Words::default();
    for (word, bytes) in words.iter_mut().zip(chunks) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

fn unreadable(error: io::Error) -> Error {
    Error::System("the recorder cannot be read", error)
}

/// Records that are copied at once.
const BATCH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use vkmps_protocol::handle::SessionId;
    use vkmps_protocol::recorder::{Event, RECORDER_BYTES};

    /// A ring of our own, and who writes it.
    struct Engine {
        ring: File,
        written: u64,
    }

    impl Engine {
        fn new() -> Self {
            let fd = nix::sys::memfd::memfd_create(c"ring", nix::sys::memfd::MFdFlags::empty());
            let ring = File::from(fd.unwrap());
            ring.set_len(RECORDER_BYTES as u64).unwrap();
            let magic = MAGIC_NUMBER.to_ne_bytes();
            ring.write_all_at(&magic, MAGIC as u64).unwrap();
            Self { ring, written: 0 }
        }

        fn reader(&self) -> Reader {
            Reader::new(self.ring.try_clone().unwrap()).unwrap()
        }

        /// Records its own number.
        fn record(&mut self) {
            let entry = Entry::Mark {
                session: SessionId(self.written),
                at_ns: 0,
                event: Event::Ended,
            };
            let words = entry.encode(self.written);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let at = offset(self.written) as u64;
            self.ring.write_all_at(&bytes, at).unwrap();
            self.written += 1;
            self.ring
                .write_all_at(&self.written.to_ne_bytes(), WRITTEN as u64)
                .unwrap();
        }
    }

    fn taken(reader: &mut Reader) -> Vec<u64> {
        let mut taken = Vec::new();
        let take = |entry| {
            let Entry::Mark { session, .. } = entry else {
                panic!("nobody recorded {entry:?}");
            };
            taken.push(session.0);
            true
        };
        reader.read(take).unwrap();
        taken
    }

    #[test]
    fn a_reader_takes_what_is_new_once_and_in_order() {
        let mut engine = Engine::new();
        (0..5).for_each(|_| engine.record());
        let mut reader = engine.reader();
        assert!(taken(&mut reader).is_empty());
        (0..RECORDS - 1).for_each(|_| engine.record());
        assert_eq!(taken(&mut reader), (5..RECORDS + 4).collect::<Vec<_>>());
        engine.record();
        assert_eq!(taken(&mut reader), [RECORDS + 4]);
        assert_eq!(reader.lost(), 0);
    }

    #[test]
    fn a_reader_that_was_lapped_says_what_it_lost() {
        let mut engine = Engine::new();
        let mut reader = engine.reader();
        (0..RECORDS + 10).for_each(|_| engine.record());
        let taken = taken(&mut reader);
        assert_eq!(taken, (11..RECORDS + 10).collect::<Vec<_>>());
        assert_eq!(reader.lost(), 11);
    }

    #[test]
    fn what_is_written_over_while_it_is_copied_is_lost_and_not_taken_for_something_else() {
        let mut engine = Engine::new();
        let mut reader = engine.reader();
        (0..RECORDS - 1).for_each(|_| engine.record());
        let mut taken = 0;
        // The engine goes on while the first records are looked at: those that were copied with them are whole.
        let take = |entry| {
            let Entry::Mark { session, .. } = entry else {
                panic!("nobody recorded {entry:?}");
            };
            if taken == 0 {
                (0..RECORDS).for_each(|_| engine.record());
            }
            taken += 1;
            assert!(
                session.0 < BATCH as u64 || session.0 >= RECORDS,
                "{session:?}"
            );
            true
        };
        reader.read(take).unwrap();
        assert_eq!(taken + reader.lost(), 2 * RECORDS - 1);
        assert_eq!(reader.lost(), RECORDS - BATCH as u64);
    }

    #[test]
    fn a_reader_stops_when_it_has_enough() {
        let mut engine = Engine::new();
        let mut reader = engine.reader();
        (0..RECORDS / 2).for_each(|_| engine.record());
        let mut taken = 0;
        reader
            .read(|_| {
                taken += 1;
                taken < 10
            })
            .unwrap();
        assert_eq!(taken, BATCH);
    }

    #[test]
    fn another_layout_is_refused() {
        let engine = Engine::new();
        let version = (MAGIC_NUMBER + (1 << 56)).to_ne_bytes();
        engine.ring.write_all_at(&version, 0).unwrap();
        let refused = Reader::new(engine.ring).unwrap_err();
        assert!(matches!(refused, Error::OtherRecorder));
    }

    #[test]
    fn a_count_that_makes_no_sense_ends_nothing() {
        let mut engine = Engine::new();
        engine.record();
        let mut reader = engine.reader();
        for written in [0, u64::MAX] {
            let bytes = u64::to_ne_bytes(written);
            engine.ring.write_all_at(&bytes, WRITTEN as u64).unwrap();
            assert!(taken(&mut reader).is_empty());
        }
    }
}
