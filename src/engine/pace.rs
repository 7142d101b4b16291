//! How long levels of a queue take: to charge them, and to know when to look for the next completion.

use std::time::Duration;

/// What is known of one queue's levels.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    begun: Duration,
    /// The oldest level began on an idle queue.
    was_idle: bool,
    average: Duration,
    /// What a level that begins on an idle queue takes by our clock beyond its time on the device: the way there and back.
    /// Close to the least that was seen, for whatever else keeps us from looking makes it longer.
    way: Duration,
    /// Levels that began on an idle queue, since the last one that was to be measured.
    unmeasured: u32,
}

impl Pace {
    /// Work was submitted to an idle queue.
    pub(crate) fn begun(&mut self, now: Duration) {
        self.begun = now;
        self.was_idle = true;
    }

    /// Whether the level that is about to begin on an idle queue is to be measured on the device: asking costs time
    /// there and here, so it is done now and then.
    pub(crate) fn measures(&mut self) -> bool {
        self.unmeasured = self.unmeasured.checked_sub(1).unwrap_or(MEASURE_EVERY - 1);
        self.unmeasured == MEASURE_EVERY - 1
    }

    /// The oldest level is over; the next one begins. What it had of the queue's time. If it began on an idle queue: its
    /// time on the device, as measured there or guessed. If it was queued behind another: all since that one's end, with
    /// the gap between them, which no other work could use.
    pub(crate) fn completed(&mut self, now: Duration, on_device: Option<Duration>) -> Duration {
        let since = now.saturating_sub(self.begun);
        let was_idle = std::mem::take(&mut self.was_idle);
        self.average = (self.average * 3 + since) / 4;
        self.begun = now;
        match on_device.filter(|_| was_idle) {
            Some(time) => {
                let way = since.saturating_sub(time);
                self.way = match self.way {
                    known if known.is_zero() || way < known => way,
                    known => known + (way - known) / 16,
                };
                time.min(since)
            }
            // No level takes next to nothing.
            None if was_idle => since.saturating_sub(self.way).max(since / 8),
            None => since,
        }
    }

    /// When the level that runs should be over.
    pub(crate) fn due(&self) -> Option<Duration> {
        (!self.average.is_zero()).then(|| self.begun + self.average)
    }
}

/// One level of so many that begin on an idle queue.
const MEASURE_EVERY: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_on_an_idle_queue_is_charged_what_the_device_says_and_one_behind_it_the_time_since() {
        let mut pace = Pace::default();
        pace.begun(us(100));
        assert_eq!(pace.completed(us(200), Some(us(80))), us(80));
        // Queued behind it: what the device says of it leaves the gap out.
        assert_eq!(pace.completed(us(250), Some(us(40))), us(50));
        assert_eq!(pace.completed(us(290), None), us(40));
    }

    #[test]
    fn without_timestamps_the_clock_counts() {
        let mut pace = Pace::default();
        pace.begun(us(100));
        assert_eq!(pace.completed(us(200), None), us(100));
        pace.begun(us(300));
        assert_eq!(pace.completed(us(310), None), us(10));
    }

    #[test]
    fn the_way_to_the_device_and_back_is_learnt_and_left_out() {
        let mut pace = Pace::default();
        pace.begun(us(0));
        pace.completed(us(100), Some(us(80)));
        pace.begun(us(200));
        assert_eq!(pace.completed(us(260), None), us(40));
        // A completion that was looked for late does not count for much.
        pace.begun(us(1_000));
        assert_eq!(pace.completed(us(2_000), Some(us(20))), us(20));
        pace.begun(us(3_000));
        let took = pace.completed(us(3_400), None);
        assert!((us(300)..us(380)).contains(&took), "{took:?}");
    }

    #[test]
    fn a_level_is_never_charged_nothing_or_more_than_has_passed() {
        let mut pace = Pace::default();
        pace.begun(us(0));
        assert_eq!(pace.completed(us(100), Some(us(500))), us(100));
        pace.begun(us(200));
        pace.completed(us(300), Some(us(0)));
        pace.begun(us(400));
        assert_eq!(pace.completed(us(480), None), us(10));
    }

    #[test]
    fn the_first_level_is_measured_and_then_one_in_sixteen() {
        let mut pace = Pace::default();
        let measured: Vec<usize> = (0..50).filter(|_| pace.measures()).collect();
        assert_eq!(measured, [0, 16, 32, 48]);
    }

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }
}
