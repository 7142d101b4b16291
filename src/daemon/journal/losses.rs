//! What to do when nobody reads the log: wait a little once, then go on without it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Whether the reader keeps up, and how many lines it missed.
#[derive(Debug, Default)]
pub(super) struct Losses {
    stuck: AtomicBool,
    lost: AtomicU64,
}

impl Losses {
    /// How long to wait for the reader: a full queue is often read in a moment, a reader that hangs costs this once.
    pub(super) fn patience(&self) -> Duration {
        match self.stuck.load(Ordering::Relaxed) {
            false => PATIENCE,
            true => Duration::ZERO,
        }
    }

    /// A line could not be written.
    pub(super) fn lost(&self) {
        self.stuck.store(true, Ordering::Relaxed);
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// The reader reads; how many lines it missed before.
    pub(super) fn over(&self) -> u64 {
        self.stuck.store(false, Ordering::Relaxed);
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Not long for clients that wait for the daemon.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
