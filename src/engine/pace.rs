//! How long levels of a queue take, to know when to look for the next completion.

use std::time::Duration;

/// A moving average of one queue's levels.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    begun: Duration,
    average: Duration,
}

impl Pace {
    /// Work was submitted to an idle queue.
    pub(crate) fn begun(&mut self, now: Duration) {
        self.begun = now;
    }

    /// The oldest level is over; the next one begins. How long it took: it began with its own submission or with the end
    /// of the one before it, whichever came later.
    pub(crate) fn completed(&mut self, now: Duration) -> Duration {
        let took = now.saturating_sub(self.begun);
        self.average = (self.average * 3 + took) / 4;
        self.begun = now;
        took
    }

    /// When the level that runs should be over.
    pub(crate) fn due(&self) -> Option<Duration> {
        (!self.average.is_zero()).then(|| self.begun + self.average)
    }
}
