//! How much of the last second something took: a moving share for people, from three words that one side writes and
//! another reads.

/// Length of the window, nanoseconds.
pub const WINDOW_NS: u64 = 1_000_000_000;

/// What was taken in this second and in the one before it, seconds counted on CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Which second this is.
    pub second: u64,
    /// What was taken in it so far, nanoseconds.
    pub current_ns: u64,
    /// What was taken in the one before it, nanoseconds.
    pub previous_ns: u64,
}

impl Window {
    /// So much was taken up to `now_ns`: what does not fit into this second so far began before it.
    pub fn add(&mut self, now_ns: u64, taken_ns: u64) {
        self.turn_to(now_ns / WINDOW_NS);
        let lately_ns = taken_ns.min(now_ns % WINDOW_NS);
        let before_ns = (taken_ns - lately_ns).min(WINDOW_NS);
        self.current_ns = self.current_ns.saturating_add(lately_ns);
        self.previous_ns = self.previous_ns.saturating_add(before_ns);
    }

    /// Part of the last second's time, as of `now_ns`: 1 is all of it; what took place at the same time adds up to more.
    #[expect(clippy::cast_precision_loss, reason = "a share for people and graphs")]
    pub fn share(mut self, now_ns: u64) -> f64 {
        self.turn_to(now_ns / WINDOW_NS);
        // As if the second before had been even: of it, the rest of a second.
        let rest = 1.0 - (now_ns % WINDOW_NS) as f64 / WINDOW_NS as f64;
        (self.current_ns as f64 + self.previous_ns as f64 * rest) / WINDOW_NS as f64
    }

    /// A clock that seems to stand or go back, as another process may see it, changes nothing.
    fn turn_to(&mut self, second: u64) {
        if second <= self.second {
            return;
        }
        self.previous_ns = match second - self.second {
            1 => self.current_ns,
            _ => 0,
        };
        (self.second, self.current_ns) = (second, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn steady_use_is_a_steady_share() {
        for now in (3000..4000).step_by(50) {
            let mut window = Window::default();
            (0..now / 10).for_each(|step| window.add(step * 10 * MS, 3 * MS));
            let share = window.share(now * MS);
            assert!((share - 0.3).abs() < 0.01, "{share} at {now} ms");
        }
    }

    #[test]
    fn what_took_long_was_not_taken_in_the_moment_it_ended() {
        let mut window = Window::default();
        window.add(5200 * MS, 600 * MS);
        // 0.2 s of this second, 0.4 s of the one before, of which the last 0.8 s count.
        assert!((window.share(5200 * MS) - 0.52).abs() < 1e-9);
        window.add(7300 * MS, 9000 * MS);
        assert!(
            (window.share(7300 * MS) - 1.0).abs() < 1e-9,
            "not more than all"
        );
    }

    #[test]
    fn what_is_long_over_is_forgotten() {
        let mut window = Window::default();
        window.add(500 * MS, 400 * MS);
        assert!((window.share(500 * MS) - 0.4).abs() < 1e-9);
        assert!((window.share(1500 * MS) - 0.2).abs() < 1e-9);
        assert_eq!(window.share(2000 * MS), 0.0);
        assert_eq!(window.share(u64::MAX), 0.0);
    }

    #[test]
    fn a_clock_that_goes_back_is_no_reason_to_fail() {
        let mut window = Window::default();
        window.add(5000 * MS, 100 * MS);
        window.add(3000 * MS, 100 * MS);
        assert!(window.share(1000 * MS) >= 0.2);
        window.add(u64::MAX, u64::MAX);
        window.add(u64::MAX, u64::MAX);
        assert!(window.share(u64::MAX).is_finite());
    }
}
