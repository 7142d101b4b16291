//! What to do when nobody reads the log: wait a little once, then go on without it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Whether the reader keeps up, and how many lines it missed.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Lines that have to be written before the reader is waited for again.
    distrust: AtomicU32,
    lost: AtomicU64,
}

impl Losses {
    /// How long to wait for the reader: a full queue is often read in a moment, a reader that hangs costs this once,
    /// and one that is always a little late not much more often.
    pub(super) fn patience(&self) -> Duration {
        match self.distrust.load(Ordering::Relaxed) {
            0 => PATIENCE,
            _ => Duration::ZERO,
        }
    }

    /// A line could not be written.
    pub(super) fn lost(&self) {
        self.distrust.store(PROBATION, Ordering::Relaxed);
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// A line was written; how many the reader missed before it.
    pub(super) fn over(&self) -> u64 {
        let distrust = self.distrust.load(Ordering::Relaxed);
        let less = distrust.saturating_sub(1);
        self.distrust.store(less, Ordering::Relaxed);
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Not long for clients that wait for the daemon.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// Lines in a row that show that the reader keeps up.
const PROBATION: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_was_late_is_waited_for_after_many_lines_only() {
        let losses = Losses::default();
        assert_eq!(losses.patience(), PATIENCE);
        losses.lost();
        losses.lost();
        assert_eq!(losses.over(), 2);
        for _ in 2..PROBATION {
            assert_eq!(losses.over(), 0);
        }
        assert_eq!(losses.patience(), Duration::ZERO);
        losses.over();
        assert_eq!(losses.patience(), PATIENCE);
    }
}
