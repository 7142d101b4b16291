//! A client that looks at every byte it gets: fresh memory is zero, and what it wrote is still there.

use crate::chance::Chance;
use crate::crew::inside;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use vkmps::{Buffer, Client, Memory};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Checker {
    pub(super) socket: PathBuf,
    pub(super) seed: u64,
    /// It looks for so long at least,
    pub(super) seconds: f64,
    /// and at so many bytes.
    pub(super) bytes: u64,
}

/// What it saw.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(super) checked_bytes: u64,
    pub(super) foreign_bytes: u64,
}

impl Checker {
    pub(crate) fn run(self) -> Result<(), Error> {
        let client = Client::builder()
            .socket(&self.socket)
            .name("vkmps-bench checker")
            .connect()?;
        inside::line_up()?;
        let (start, duration) = (Instant::now(), Duration::from_secs_f64(self.seconds));
        let mut search = Search {
            chance: Chance::of(self.seed),
            held: Vec::new(),
            number: 0,
            words: Vec::new(),
            found: Found::default(),
        };
        while start.elapsed() < duration || search.found.checked_bytes < self.bytes {
            search.step(&client)?;
        }
        inside::say(&search.found)
    }
}

struct Search {
    chance: Chance,
    /// Each with the number that its words are made of.
    held: Vec<(Buffer, u32)>,
    number: u32,
    words: Vec<u8>,
    found: Found,
}

impl Search {
    /// Gets a buffer, looks at it, writes it; looks at an older one again, and gives one back now and then.
    fn step(&mut self, client: &Client) -> Result<(), Error> {
        let bytes = self.chance.size(MOST_BYTES);
        let memory = [Memory::Device, Memory::Shared][self.chance.place(2)];
        let fresh = self.chance.below(4) > 0;
        let buffer = match fresh {
            true => client.alloc(bytes, memory),
            false => client.alloc_unscrubbed(bytes, memory),
        };
        match buffer {
            Ok(buffer) => {
                self.look(&buffer, |word, _| word == 0 || (!fresh && is_own(word)))?;
                self.number = self.number.wrapping_add(1);
                self.write(&buffer, self.number)?;
                self.held.push((buffer, self.number));
            }
            // The attackers have it all; what matters is what is held.
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
        if !self.held.is_empty() {
            let place = self.chance.place(self.held.len());
            let (buffer, number) = self.held[place].clone();
            self.look(&buffer, |word, index| word == pattern(number, index))?;
            if self.held.len() > HELD || self.chance.below(3) == 0 {
                self.held.swap_remove(place);
            }
        }
        Ok(())
    }

    fn write(&mut self, buffer: &Buffer, number: u32) -> Result<(), Error> {
        self.words.clear();
        let words = (0..buffer.len() / 8).map(|index| pattern(number, index));
        self.words.extend(words.flat_map(u64::to_le_bytes));
        Ok(buffer.write(0, &self.words)?)
    }

    fn look(&mut self, buffer: &Buffer, is_right: impl Fn(u64, u64) -> bool) -> Result<(), Error> {
        let bytes = usize::try_from(buffer.len()).unwrap_or(usize::MAX);
        self.words.resize(bytes, 0);
        buffer.read(0, &mut self.words)?;
        let words = self.words.as_chunks().0.iter();
        let wrong = (0..)
            .zip(words)
            .filter(|(index, word)| !is_right(u64::from_le_bytes(**word), *index));
        self.found.foreign_bytes += 8 * wrong.count() as u64;
        self.found.checked_bytes += buffer.len();
        Ok(())
    }
}

/// The word at a place of the buffer with a number; nobody else's.
fn pattern(number: u32, index: u64) -> u64 {
    OWN | (u64::from(number).wrapping_mul(0x9E37_79B9) ^ index) & 0xFFFF_FFFF
}

fn is_own(word: u64) -> bool {
    word & !0xFFFF_FFFF == OWN
}

const OWN: u64 = 0x0B5E_55ED_0000_0000;
const MOST_BYTES: u64 = 16 << 20;
const HELD: usize = 6;

#[cfg(test)]
mod tests {
    use super::super::churn::MARK;
    use super::*;

    #[test]
    fn patterns_are_known_as_own_and_differ_from_what_attackers_write() {
        for (number, index) in [(0, 0), (1, 0), (7, 1 << 20), (u32::MAX, 3)] {
            assert!(is_own(pattern(number, index)));
        }
        assert_ne!(pattern(1, 5), pattern(2, 5));
        assert!(!is_own(0) && !is_own(u64::from(MARK) << 32 | u64::from(MARK)));
    }
}
