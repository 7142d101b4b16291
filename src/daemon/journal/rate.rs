//! Limits to what clients can make the daemon write: nobody floods the log. A user who writes all that he may leaves
//! others room, but some users together take all of it; so the lines that tell of attempts have room of their own, and
//! a flood of other lines hides none of them.

use super::message_id::Kind;
use std::collections::HashMap;
use std::time::Duration;

/// What was written lately, per user and kind of event, and by all together. No clock: the caller says what time it is.
#[derive(Debug, Default)]
pub(super) struct Limits {
    buckets: HashMap<Cause, Bucket>,
    /// For whom there is no room in the table. What it suppressed is nobody's in particular, and is not told.
    rest: Bucket,
    all: Bucket,
    /// All attempts together.
    attempts: Bucket,
    swept_at: Duration,
}

/// Who causes what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cause {
    /// The user, if it is known.
    pub(super) uid: Option<u32>,
    pub(super) kind: Kind,
}

/// What to do with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Write it, and how many of its kind were not before.
    Write { suppressed: u64 },
    /// Only count it.
    Suppress,
}

impl Limits {
    /// Decides about one line.
    pub(super) fn judge(&mut self, cause: Cause, now: Duration) -> Verdict {
        if !self.buckets.contains_key(&cause) && self.buckets.len() >= MAX_BUCKETS {
            self.buckets.retain(|_, bucket| !bucket.is_idle(now));
        }
        let bucket = match self.buckets.len() {
            MAX_BUCKETS.. if !self.buckets.contains_key(&cause) => {
                self.rest.suppressed = 0;
                &mut self.rest
            }
            _ => self.buckets.entry(cause).or_default(),
        };
        let all = match cause.kind {
            Kind::CallDenied | Kind::ProtocolViolation => &mut self.attempts,
            _ => &mut self.all,
        };
        if bucket.has_room(PER_CAUSE, now) && all.has_room(ALL, now) {
            bucket.take(PER_CAUSE, now);
            all.take(ALL, now);
            return Verdict::Write {
                suppressed: std::mem::take(&mut bucket.suppressed),
            };
        }
        bucket.suppressed += 1;
        Verdict::Suppress
    }

    /// Lines that nobody was told of although their flood is over. Seldom anything: at most once a second is looked.
    pub(super) fn over(&mut self, now: Duration) -> Vec<(Cause, u64)> {
        if now < self.swept_at + SWEEP_INTERVAL {
            return Vec::new();
        }
        self.swept_at = now;
        self.told(|bucket| bucket.full_at <= now)
    }

    /// All lines that nobody was told of.
    pub(super) fn rest(&mut self) -> Vec<(Cause, u64)> {
        self.told(|_| true)
    }

    fn told(&mut self, over: impl Fn(&Bucket) -> bool) -> Vec<(Cause, u64)> {
        let silent = |(_, bucket): &(&Cause, &mut Bucket)| bucket.suppressed > 0 && over(bucket);
        self.buckets
            .iter_mut()
            .filter(silent)
            .map(|(cause, bucket)| (*cause, std::mem::take(&mut bucket.suppressed)))
            .collect()
    }
}

/// A bucket of tokens, kept as the time when it will be full again.
#[derive(Debug, Default)]
struct Bucket {
    full_at: Duration,
    suppressed: u64,
}

impl Bucket {
    fn has_room(&self, rate: Rate, now: Duration) -> bool {
        self.full_at.saturating_sub(now) <= rate.every * (rate.burst - 1)
    }

    fn take(&mut self, rate: Rate, now: Duration) {
        self.full_at = self.full_at.max(now) + rate.every;
    }

    fn is_idle(&self, now: Duration) -> bool {
        self.full_at <= now && self.suppressed == 0
    }
}

/// So many at once, then one after each such time.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// What one user can make the daemon write of one kind: a job of fifty processes shows whole, a loop of refusals does not.
const PER_CAUSE: Rate = Rate {
    burst: 50,
    every: Duration::from_millis(200),
};
/// What all users can: well below the 10 000 lines in 30 s from which on journald itself drops lines of a service,
/// important ones too. Attempts may be as many again: five users at once can fill that.
const ALL: Rate = Rate {
    burst: 500,
    every: Duration::from_millis(20),
};
/// Users and kinds that are told apart at one time.
const MAX_BUCKETS: usize = 1024;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Kind = Kind::AllocationRefused;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn written(limits: &mut Limits, uid: u32, lines: usize, now: Duration) -> usize {
        let cause = Cause {
            uid: Some(uid),
            kind: REFUSED,
        };
        (0..lines)
            .filter(|_| limits.judge(cause, now) != Verdict::Suppress)
            .count()
    }

    #[test]
    fn a_burst_is_written_and_then_a_few_in_a_second() {
        let mut limits = Limits::default();
        assert_eq!(written(&mut limits, 7, 1000, at(0)), 50);
        assert_eq!(written(&mut limits, 7, 1000, at(1000)), 5);
        assert_eq!(written(&mut limits, 7, 1000, at(1199)), 0);
        assert_eq!(written(&mut limits, 7, 1000, at(1200)), 1);
        assert_eq!(written(&mut limits, 7, 1000, at(60_000)), 50);
    }

    #[test]
    fn one_user_or_kind_takes_nothing_from_another() {
        let mut limits = Limits::default();
        assert_eq!(written(&mut limits, 7, 1000, at(0)), 50);
        assert_eq!(written(&mut limits, 8, 10, at(0)), 10);
        let other = Cause {
            uid: Some(7),
            kind: Kind::ClientConnected,
        };
        assert_eq!(limits.judge(other, at(0)), Verdict::Write { suppressed: 0 });
    }

    #[test]
    fn all_users_together_are_limited_too() {
        let mut limits = Limits::default();
        let all: usize = (0..100)
            .map(|uid| written(&mut limits, uid, 1000, at(0)))
            .sum();
        assert_eq!(all, 500);
        let all: usize = (0..100)
            .map(|uid| written(&mut limits, uid, 1000, at(1000)))
            .sum();
        assert_eq!(all, 50);
    }

    #[test]
    fn a_flood_hides_no_attempt() {
        let mut limits = Limits::default();
        for uid in 0..100 {
            written(&mut limits, uid, 1000, at(0));
        }
        for kind in [Kind::CallDenied, Kind::ProtocolViolation] {
            let cause = Cause { uid: Some(7), kind };
            assert_eq!(limits.judge(cause, at(0)), Verdict::Write { suppressed: 0 });
        }
    }

    #[test]
    fn what_was_not_written_is_told_with_the_next_line() {
        let mut limits = Limits::default();
        written(&mut limits, 7, 80, at(0));
        let cause = Cause {
            uid: Some(7),
            kind: REFUSED,
        };
        assert_eq!(
            limits.judge(cause, at(200)),
            Verdict::Write { suppressed: 30 }
        );
        assert_eq!(
            limits.judge(cause, at(400)),
            Verdict::Write { suppressed: 0 }
        );
    }

    #[test]
    fn what_was_not_written_is_told_when_the_flood_is_over() {
        let mut limits = Limits::default();
        written(&mut limits, 7, 80, at(0));
        assert_eq!(limits.over(at(5000)), []);
        let cause = Cause {
            uid: Some(7),
            kind: REFUSED,
        };
        assert_eq!(limits.over(at(10_000)), [(cause, 30)]);
        assert_eq!(limits.over(at(20_000)), []);
        written(&mut limits, 7, 51, at(20_000));
        assert_eq!(limits.rest(), [(cause, 1)]);
    }

    #[test]
    fn the_table_stays_small_and_those_beyond_it_share() {
        let mut limits = Limits::default();
        for uid in 0..10_000 {
            // Slowly enough for the limit of all.
            written(&mut limits, uid, 1, at(u64::from(uid) * 20));
            assert!(limits.buckets.len() <= MAX_BUCKETS);
        }
        let crowd = at(1_000_000);
        let mut limits = Limits::default();
        for uid in (0..).take(MAX_BUCKETS) {
            written(&mut limits, uid, 1, crowd);
        }
        // Nobody is idle, so these have one bucket together, and the limit of all is used up.
        let late: usize = (5000..5100)
            .map(|uid| written(&mut limits, uid, 1, crowd))
            .sum();
        assert_eq!(late, 0);
        assert_eq!(limits.buckets.len(), MAX_BUCKETS);
        let later: usize = (5000..5100)
            .map(|uid| written(&mut limits, uid, 1, crowd + at(100)))
            .sum();
        assert_eq!(later, 5);
    }
}
