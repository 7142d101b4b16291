//! Token buckets: time on the device that is granted at a rate.

/// Nanoseconds of device time that may be used now; less than none where more was used than foreseen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    percent: u8,
    level_ns: i64,
    at_ns: u64,
    /// Hundredths of a nanosecond that were granted besides: who looks often must not be granted less.
    rest: u64,
}

impl Bucket {
    pub(crate) fn new(percent: u8, now_ns: u64) -> Self {
        Self {
            percent: percent.clamp(1, 100),
            level_ns: 1,
            at_ns: now_ns,
            rest: 0,
        }
    }

    pub(crate) fn percent(&self) -> u8 {
        self.percent
    }

    /// Whether anything may be used now.
    pub(crate) fn is_open(&mut self, now_ns: u64) -> bool {
        self.refill(now_ns);
        self.level_ns > 0
    }

    /// When it will be open, if nothing is used until then.
    pub(crate) fn opens_ns(&self) -> u64 {
        let missing_ns = u64::try_from(self.level_ns.saturating_neg()).unwrap_or(0) + 1;
        let wait_ns = missing_ns.saturating_mul(100) / u64::from(self.percent);
        self.at_ns.saturating_add(wait_ns).saturating_add(1)
    }

    pub(crate) fn take(&mut self, time_ns: u64) {
        let time_ns = i64::try_from(time_ns).unwrap_or(i64::MAX);
        self.level_ns = self.level_ns.saturating_sub(time_ns);
    }

    /// It was so much less than what was taken, or more.
    pub(crate) fn correct(&mut self, less_ns: i64) {
        self.level_ns = self.level_ns.saturating_add(less_ns);
    }

    /// Forgets what was used beyond a bound: whoever has other sources, too, is not to pay for that for long.
    pub(crate) fn forgive(&mut self) {
        self.level_ns = self.level_ns.max(-self.capacity_ns());
    }

    /// A clock that jumps ahead fills it at most; one that jumps back adds nothing.
    fn refill(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.at_ns).min(SECOND_NS * 100);
        self.at_ns = now_ns;
        let grant = passed_ns * u64::from(self.percent) + self.rest;
        let grant_ns = grant / 100;
        self.rest = grant % 100;
        let grant_ns = i64::try_from(grant_ns).unwrap_or(i64::MAX);
        self.level_ns = self
            .level_ns
            .saturating_add(grant_ns)
            .min(self.capacity_ns());
    }

    fn capacity_ns(&self) -> i64 {
        i64::try_from(CAPACITY_NS * u64::from(self.percent) / 100).unwrap_or(i64::MAX)
    }
}

/// What is not used for so long is lost: it bounds what comes at once after a pause, and must be longer than what passes
/// between a completion and the submit that follows it.
const CAPACITY_NS: u64 = 20_000_000;
const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn over_time_the_rate_is_exact_although_single_jobs_exceed_it() {
        let mut bucket = Bucket::new(30, 0);
        let (mut now_ns, mut used_ns) = (0, 0);
        while now_ns < 1000 * MS {
            if bucket.is_open(now_ns) {
                bucket.take(2 * MS);
                used_ns += 2 * MS;
            } else {
                assert!(bucket.opens_ns() > now_ns);
            }
            now_ns = bucket.opens_ns().max(now_ns + 1);
        }
        assert!((300 * MS..=302 * MS).contains(&used_ns), "{used_ns}");
    }

    #[test]
    fn pauses_and_jumps_of_the_clock_grant_a_bounded_time() {
        let mut bucket = Bucket::new(50, 0);
        assert!(bucket.is_open(u64::MAX / 2));
        let mut used_ns = 0;
        while bucket.is_open(u64::MAX / 2) {
            bucket.take(MS);
            used_ns += MS;
        }
        assert!(used_ns <= 11 * MS);
        assert!(!bucket.is_open(0), "time that runs back grants nothing");
    }

    #[test]
    fn who_looks_every_nanosecond_is_granted_as_much() {
        let mut bucket = Bucket::new(30, 0);
        bucket.take(31);
        let opened = (1..200).find(|now_ns| bucket.is_open(*now_ns));
        assert_eq!(opened, Some(104));
    }

    #[test]
    fn absurd_charges_do_not_overflow() {
        let mut bucket = Bucket::new(1, 0);
        bucket.take(u64::MAX);
        bucket.take(u64::MAX);
        bucket.correct(i64::MIN);
        assert!(!bucket.is_open(SECOND_NS));
        assert!(bucket.opens_ns() > SECOND_NS);
        bucket.forgive();
        assert!(bucket.is_open(30 * SECOND_NS));
    }
}
