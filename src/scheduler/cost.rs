//! What work costs: time on the device, learned from what it took before.
//!
//! Two numbers for every shape of work. Its *length* is the time of a level that it has for itself: it says whose
//! levels it may share, and which part of a shared level's time is its. Its *cost* is that part: merged work is cheaper
//! than its length wherever a device runs several jobs at a time.

use std::collections::HashMap;
use std::time::Duration;

/// What is known of a job before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Stands for the programs that it runs, in their order.
    pub program: u64,
    /// Workgroups; for copies, something in proportion to their bytes.
    pub groups: u64,
}

/// What a job is taken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prediction {
    pub(crate) length: Duration,
    pub(crate) cost: Duration,
    /// Whether its length was measured, and is not due to be measured again.
    pub(crate) known: bool,
}

/// All that is known of one client's work.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    shapes: HashMap<(u64, u32), Estimate>,
}

/// Per 2^10 workgroups, nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Estimate {
    length: u64,
    cost: u64,
    lengths: u32,
    costs: u32,
    /// Levels shared since its length was measured.
    shared: u32,
}

impl Costs {
    pub(crate) fn predict(&self, work: Work) -> Prediction {
        let Some(estimate) = self.shapes.get(&shape(work)) else {
            return Prediction {
                length: UNKNOWN,
                cost: UNKNOWN,
                known: false,
            };
        };
        Prediction {
            length: of_groups(estimate.length, work.groups),
            cost: of_groups(estimate.cost, work.groups).max(LEAST),
            known: estimate.lengths > 0,
        }
    }

    /// Whether the length should be measured again: what shares levels cannot be told apart.
    pub(crate) fn is_stale(&self, work: Work) -> bool {
        let estimate = self.shapes.get(&shape(work));
        estimate.is_some_and(|estimate| {
            estimate.shared >= STALE && of_groups(estimate.length, work.groups) >= WORTH_MEASURING
        })
    }

    /// Work took so long; `alone`: and had the level for itself.
    pub(crate) fn learn(&mut self, work: Work, cost: Duration, alone: Option<Duration>) {
        if self.shapes.len() >= SHAPES {
            // A client with so many is no client that can be predicted; memory has its bounds.
            self.shapes.clear();
        }
        let estimate = self.shapes.entry(shape(work)).or_default();
        if let Some(length) = alone {
            average(
                &mut estimate.length,
                &mut estimate.lengths,
                per_groups(length, work.groups),
            );
            estimate.shared = 0;
        } else {
            estimate.shared = estimate.shared.saturating_add(1);
            if estimate.lengths == 0 {
                estimate.length = per_groups(UNKNOWN, work.groups);
            }
        }
        average(
            &mut estimate.cost,
            &mut estimate.costs,
            per_groups(cost, work.groups),
        );
    }
}

/// Which of two lengths may share a level: the shorter would wait for the longer.
pub(crate) fn alike(one: Duration, other: Duration) -> bool {
    let (less, more) = (one.min(other), one.max(other));
    more <= SHORT || more <= less * ALIKE
}

/// Grids that differ by less than a factor of two are the same shape: a program's time is in proportion to its grid only
/// where that is large, or the same.
fn shape(work: Work) -> (u64, u32) {
    (work.program, work.groups.max(1).ilog2())
}

fn per_groups(time: Duration, groups: u64) -> u64 {
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    time_ns.saturating_mul(GROUPS) / groups.max(1)
}

fn of_groups(per: u64, groups: u64) -> Duration {
    let time_ns = u128::from(per) * u128::from(groups.max(1)) / u128::from(GROUPS);
    Duration::from_nanos(u64::try_from(time_ns).unwrap_or(u64::MAX)).min(LONGEST)
}

/// The first measurement counts in full, later ones less and less.
fn average(value: &mut u64, count: &mut u32, sample: u64) {
    *count = (*count + 1).min(MEMORY);
    let weight = u64::from(*count);
    let sum = u128::from(*value) * u128::from(weight - 1) + u128::from(sample);
    *value = u64::try_from(sum / u128::from(weight)).unwrap_or(u64::MAX);
}

/// Work that was never seen is taken for long until it has shown to be short.
const UNKNOWN: Duration = Duration::from_micros(250);
/// Nothing is free: launching costs the engine about this.
const LEAST: Duration = Duration::from_micros(1);
/// No prediction may overflow what is added up of it.
const LONGEST: Duration = Duration::from_secs(10);
const GROUPS: u64 = 1024;
/// Measurements that an average remembers.
const MEMORY: u32 = 8;
const SHAPES: usize = 1024;
/// A length is measured again after so many shared levels.
const STALE: u32 = 256;
/// Short work is not worth a level of its own.
const WORTH_MEASURING: Duration = Duration::from_micros(250);
/// Below this, what levels cost outweighs what waiting for each other does.
const SHORT: Duration = Duration::from_micros(250);
const ALIKE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(microseconds: u64) -> Duration {
        Duration::from_micros(microseconds)
    }

    fn work(groups: u64) -> Work {
        Work { program: 7, groups }
    }

    #[test]
    fn a_wrong_guess_is_corrected_within_a_few_dispatches() {
        let mut costs = Costs::default();
        assert!(!costs.predict(work(64)).known);
        for _ in 0..3 {
            costs.learn(work(64), us(5000), Some(us(5000)));
        }
        assert_eq!(costs.predict(work(64)).cost, us(5000));
        // It becomes ten times as long: other push constants, say.
        (0..16).for_each(|_| costs.learn(work(64), us(50_000), Some(us(50_000))));
        assert!(costs.predict(work(64)).cost > us(40_000));
    }

    #[test]
    fn grids_of_similar_size_are_predicted_from_each_other_and_others_are_not() {
        let mut costs = Costs::default();
        costs.learn(work(64), us(640), Some(us(640)));
        assert_eq!(costs.predict(work(96)).length, us(960));
        assert!(!costs.predict(work(1)).known);
    }

    #[test]
    fn what_shares_levels_for_long_is_measured_again() {
        let mut costs = Costs::default();
        costs.learn(work(64), us(640), Some(us(640)));
        (0..STALE).for_each(|_| costs.learn(work(64), us(100), None));
        assert!(costs.is_stale(work(64)));
        assert_eq!(costs.predict(work(64)).length, us(640));
        assert!(costs.predict(work(64)).cost < us(120));
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let mut costs = Costs::default();
        let huge = Work {
            program: 0,
            groups: u64::MAX,
        };
        costs.learn(huge, Duration::MAX, Some(Duration::MAX));
        costs.learn(work(0), Duration::MAX, None);
        assert!(costs.predict(huge).cost <= LONGEST && costs.predict(work(0)).cost <= LONGEST);
    }
}
