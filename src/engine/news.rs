//! Which streams of a session have new records.

use vkmps_protocol::ring::session::DIRTY_WORDS;

/// Streams of a session that want to be looked at, in turn.
#[derive(Debug, Default)]
pub(crate) struct News {
    words: [u64; DIRTY_WORDS],
    /// Where the next turn begins to search.
    next: usize,
}

impl News {
    pub(crate) fn add(&mut self, word: usize, bits: u64) {
        self.words[word] |= bits;
    }

    /// A stream had more than one turn's worth.
    pub(crate) fn put_back(&mut self, stream: usize) {
        self.words[stream / 64] |= 1 << (stream % 64);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words == [0; DIRTY_WORDS]
    }

    /// The next stream after the last one that was taken.
    pub(crate) fn take(&mut self) -> Option<usize> {
        let (first, bit) = (self.next / 64, self.next % 64);
        // The first word again at the end: its bits below the beginning come last.
        for step in 0..=DIRTY_WORDS {
            let word = (first + step) % DIRTY_WORDS;
            let from = if step == 0 { u64::MAX << bit } else { u64::MAX };
            let bits = self.words[word] & from;
            if bits != 0 {
                self.words[word] &= !(bits & bits.wrapping_neg());
                let stream = word * 64 + bits.trailing_zeros() as usize;
                self.next = (stream + 1) % (DIRTY_WORDS * 64);
                return Some(stream);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_taken_in_turn_whichever_is_new_again() {
        let mut news = News::default();
        news.add(0, 1 << 3 | 1 << 63);
        news.add(2, 1);
        assert_eq!(news.take(), Some(3));
        news.put_back(3);
        assert_eq!(news.take(), Some(63));
        news.add(0, 1);
        assert_eq!([news.take(), news.take()], [Some(128), Some(0)]);
        assert_eq!((news.take(), news.take()), (Some(3), None));
        assert!(news.is_empty());
    }

    #[test]
    fn the_last_stream_is_followed_by_the_first() {
        let mut news = News::default();
        news.put_back(255);
        news.put_back(255);
        assert_eq!((news.take(), news.take()), (Some(255), None));
        news.put_back(0);
        assert_eq!(news.take(), Some(0));
    }
}
