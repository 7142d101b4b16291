//! What work costs: time on the device, learned from what it took before.
//!
//! Two numbers for every kind of work, a program with a grid of some size. Its *length* is the time that it takes with the
//! device for itself: what fair shares and caps are counted in, because it does not depend on who else is there. Its
//! *cost* is its part of the time of the levels that it shared: less than its length wherever a device runs several jobs
//! at a time.
//!
//! A level of one job on an otherwise idle device tells the length. Any other level only bounds it: no job is longer
//! than its level, and no shorter than its part of it.

/// What is known of a job before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Stands for the programs that it runs, in their order.
    pub program: u64,
    /// Work units: workgroups of its dispatches, blocks of 64 KiB of its copies and fills.
    pub units: u64,
    /// Whether it may be run in parts.
    pub divisible: bool,
}

/// What a piece of work is taken for, nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prediction {
    pub(crate) length_ns: u64,
    pub(crate) cost_ns: u64,
}

/// What a completed level says of one of its pieces, nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) units: u64,
    /// Its part of the level's time.
    pub(crate) part_ns: u64,
    /// The level's time.
    pub(crate) level_ns: u64,
    /// Nothing else ran.
    pub(crate) alone: bool,
    /// How much longer work takes now than with the device for itself, in 256ths.
    pub(crate) slowdown: u64,
}

/// All that is known of one client's work.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    kinds: Vec<Kind>,
    /// The slot that was last given to another kind.
    replaced: usize,
}

/// What was learned from other clients' work: where a client's first job of a kind begins.
#[derive(Debug)]
pub(crate) struct Priors {
    lengths: Vec<(u64, u64)>,
}

/// What is known of one kind. Times per work unit are 2^-[`FRACTION`] nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    tag: u64,
    length: u64,
    cost: u64,
    /// Of whole jobs, or nearly whole ones: what cutting is compared with.
    whole: u64,
    /// Levels since its length was measured.
    shared_levels: u32,
    samples: u8,
    measured: bool,
    /// It was measured, or another client's work of the kind was.
    trusted: bool,
    /// Pieces take nearly as long as the whole: cutting it only costs time.
    narrow: bool,
    /// The longest piece so far, work units.
    longest: u64,
}

/// A kind's place in its client's [`Costs`], and what it was when it was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KindKey {
    slot: u8,
    tag: u64,
}

impl Costs {
    /// The kind of a job; a new one begins as others' work of the kind is.
    pub(crate) fn kind(&mut self, work: Work, priors: &Priors) -> KindKey {
        let tag = tag(work);
        if let Some(slot) = self.kinds.iter().position(|kind| kind.tag == tag) {
            return key(slot, tag);
        }
        let mut kind = Kind {
            tag,
            ..Kind::default()
        };
        // Only to begin with: the same program may do something else for this client.
        let length = priors.length(tag).unwrap_or(0);
        (kind.length, kind.cost, kind.trusted) = (length, length, length > 0);
        if self.kinds.len() < KINDS {
            self.kinds.push(kind);
            return key(self.kinds.len() - 1, tag);
        }
        // A client with so many is no client that can be foreseen; memory has its bounds.
        self.replaced = (self.replaced + 1) % KINDS;
        self.kinds[self.replaced] = kind;
        key(self.replaced, tag)
    }

    fn get(&self, key: KindKey) -> Option<&Kind> {
        let kind = self.kinds.get(usize::from(key.slot))?;
        (kind.tag == key.tag).then_some(kind)
    }

    /// What so many units of a kind will take.
    pub(crate) fn predict(&self, key: KindKey, units: u64) -> Prediction {
        match self.get(key).filter(|kind| kind.length > 0) {
            Some(kind) => Prediction {
                length_ns: of_units(kind.length, units),
                cost_ns: of_units(kind.cost, units),
            },
            None => Prediction {
                length_ns: UNKNOWN_NS,
                cost_ns: UNKNOWN_NS,
            },
        }
    }

    /// Whether the length was measured, by a job alone on the device; else it is a guess between bounds.
    pub(crate) fn is_measured(&self, key: KindKey) -> bool {
        self.get(key).is_some_and(|kind| kind.measured)
    }

    /// Whether the length should be measured again: what shares levels cannot be told apart.
    pub(crate) fn is_stale(&self, key: KindKey, units: u64) -> bool {
        self.get(key).is_some_and(|kind| {
            kind.shared_levels >= STALE && of_units(kind.length, units) >= WORTH_MEASURING_NS
        })
    }

    /// Units to cut from a job that has `left` of them, so that the piece takes about `target_ns`; None for all.
    pub(crate) fn cut(&self, key: KindKey, left: u64, whole: u64, target_ns: u64) -> Option<u64> {
        let Some(kind) = self.get(key).filter(|kind| kind.length > 0) else {
            // A first look: long enough to tell something, short enough if it is huge.
            return (left >= EXPLORE_UNITS).then_some((whole / EXPLORE_PARTS).min(left));
        };
        let left_ns = of_units(kind.length, left);
        if kind.narrow || left_ns <= target_ns + target_ns / 8 {
            return None;
        }
        // Equal pieces, lest the last one is too short to be worth a launch.
        let units = left.div_ceil(left_ns.div_ceil(target_ns.max(1)));
        // A guess from a small piece may be far off for a long one.
        let trusted = kind.longest.max(whole / EXPLORE_PARTS).saturating_mul(4);
        let units = units.min(trusted).clamp(1, left);
        (units < left).then_some(units)
    }

    /// A piece of a job of `whole` units has run: how long that would have taken with the device for itself, nanoseconds.
    pub(crate) fn learn(
        &mut self,
        key: KindKey,
        whole: u64,
        sample: Sample,
        priors: &mut Priors,
    ) -> u64 {
        let units = sample.units.max(1);
        let Some(kind) = self
            .kinds
            .get_mut(usize::from(key.slot))
            .filter(|kind| kind.tag == key.tag)
        else {
            return sample.part_ns;
        };
        let (part, level) = (
            per_unit(sample.part_ns, units),
            per_unit(sample.level_ns, units),
        );
        if sample.alone {
            // What a launch costs tells little of a whole job's length.
            let telling = units > whole / 2 || sample.level_ns >= TELLING_NS;
            let weight = if kind.measured { MEMORY } else { 1 };
            kind.length = average(kind.length, level, weight);
            kind.measured |= telling;
            kind.trusted |= telling;
            kind.shared_levels = 0;
            priors.learn(kind.tag, kind.length);
        } else {
            let guess = (level.saturating_mul(256) / sample.slowdown.max(256)).max(part);
            kind.length = match kind.length {
                0 => guess,
                length if kind.trusted => length.clamp(part, level.max(part)),
                length => average(length, guess, MEMORY),
            };
            kind.shared_levels = kind.shared_levels.saturating_add(1);
        }
        let weight = if kind.samples == 0 { 1 } else { MEMORY };
        kind.cost = average(kind.cost, part, weight);
        kind.samples = kind.samples.saturating_add(1);
        kind.longest = kind.longest.max(units);
        if sample.alone && units > whole / 2 {
            kind.whole = level;
            kind.narrow &= units < whole;
        } else if sample.alone && kind.whole > 0 && units <= whole / 2 {
            kind.narrow |= level > kind.whole.saturating_mul(2);
        }
        match sample.alone {
            true => sample.level_ns.max(LEAST_NS),
            false => of_units(kind.length, units),
        }
    }
}

impl Default for Priors {
    fn default() -> Self {
        Self {
            lengths: vec![(0, 0); PRIORS],
        }
    }
}

impl Priors {
    fn length(&self, tag: u64) -> Option<u64> {
        let (known, length) = self.lengths[place(tag)];
        (known == tag && length > 0).then_some(length)
    }

    fn learn(&mut self, tag: u64, length: u64) {
        self.lengths[place(tag)] = (tag, length);
    }
}

/// Whether jobs of two lengths may share a level: the shorter would wait for the longer.
pub(crate) fn alike(one_ns: u64, other_ns: u64) -> bool {
    let (less, more) = (one_ns.min(other_ns), one_ns.max(other_ns));
    more <= SHORT_NS || more <= less.saturating_mul(ALIKE)
}

/// Grids that differ by less than a factor of two are the same kind: a program's time is in proportion to its grid only
/// where that is large, or the same.
fn tag(work: Work) -> u64 {
    let size = u64::from(work.units.max(1).ilog2());
    // 0 is nobody's.
    (work.program ^ (size << 58)).wrapping_add(size).max(1)
}

fn key(slot: usize, tag: u64) -> KindKey {
    let slot = u8::try_from(slot).unwrap_or(u8::MAX);
    KindKey { slot, tag }
}

fn place(tag: u64) -> usize {
    usize::try_from(tag.wrapping_mul(MIX) >> 32).unwrap_or(0) % PRIORS
}

fn per_unit(time_ns: u64, units: u64) -> u64 {
    ((time_ns.min(LONGEST_NS) << FRACTION) / units).max(1)
}

fn of_units(per_unit: u64, units: u64) -> u64 {
    let time_ns = (u128::from(per_unit) * u128::from(units.max(1))) >> FRACTION;
    u64::try_from(time_ns)
        .unwrap_or(u64::MAX)
        .clamp(LEAST_NS, LONGEST_NS)
}

/// The first measurement counts in full.
fn average(value: u64, sample: u64, weight: u64) -> u64 {
    // Both are below 2^48.
    (value * (weight - 1) + sample) / weight
}

/// Work that was never seen is taken for long until it has shown to be short.
const UNKNOWN_NS: u64 = 250_000;
/// Bits behind the point of times per unit.
const FRACTION: u32 = 10;
/// Nothing is free: launching costs the engine about this.
const LEAST_NS: u64 = 1_000;
/// No prediction may overflow what is added up of it.
const LONGEST_NS: u64 = 10_000_000_000;
/// Part of an average that a sample is one of.
const MEMORY: u64 = 4;
/// Kinds of work that are told apart in one client.
const KINDS: usize = 64;
/// Kinds of all clients that are remembered; a later one takes the place of an earlier one.
const PRIORS: usize = 1024;
/// A length is measured again after so many shared levels.
const STALE: u32 = 256;
/// Short work is not worth a level of its own.
const WORTH_MEASURING_NS: u64 = 250_000;
/// A part of a job that took so long tells how long the whole takes.
const TELLING_NS: u64 = 200_000;
/// Below this, what levels cost outweighs what waiting for each other does.
const SHORT_NS: u64 = 250_000;
/// So many times the shorter one at most.
const ALIKE: u64 = 4;
/// Unknown jobs of fewer units are not cut for a first look.
const EXPLORE_UNITS: u64 = 256;
/// A first look is one of so many parts.
const EXPLORE_PARTS: u64 = 16;
/// 2^64 over the golden ratio: spreads what is multiplied by it.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn work(units: u64) -> Work {
        Work {
            program: 7,
            units,
            divisible: true,
        }
    }

    fn alone(units: u64, time_ns: u64) -> Sample {
        Sample {
            units,
            part_ns: time_ns,
            level_ns: time_ns,
            alone: true,
            slowdown: 256,
        }
    }

    #[test]
    fn a_wrong_guess_is_corrected_within_a_few_dispatches() {
        let (mut costs, mut priors) = (Costs::default(), Priors::default());
        let kind = costs.kind(work(64), &priors);
        assert!(!costs.is_measured(kind));
        costs.learn(kind, 64, alone(64, 5_000_000), &mut priors);
        assert_eq!(costs.predict(kind, 64).length_ns, 5_000_000);
        // It becomes ten times as long: other push constants, say.
        (0..8).for_each(|_| {
            costs.learn(kind, 64, alone(64, 50_000_000), &mut priors);
        });
        assert!(costs.predict(kind, 64).length_ns > 40_000_000);
    }

    #[test]
    fn what_one_client_measured_is_where_another_begins() {
        let (mut one, mut other, mut priors) =
            (Costs::default(), Costs::default(), Priors::default());
        let kind = one.kind(work(64), &priors);
        one.learn(kind, 64, alone(64, 640_000), &mut priors);
        let kind = other.kind(work(96), &priors);
        assert_eq!(other.predict(kind, 96).length_ns, 960_000);
        assert!(!other.is_measured(kind), "but it is to be confirmed");
        let small = other.kind(work(1), &priors);
        assert_eq!(other.predict(small, 1).length_ns, UNKNOWN_NS);
    }

    #[test]
    fn shared_levels_bound_a_length_and_tell_the_cost() {
        let (mut costs, mut priors) = (Costs::default(), Priors::default());
        let kind = costs.kind(work(64), &priors);
        costs.learn(kind, 64, alone(64, 640_000), &mut priors);
        let shared = |part_ns, level_ns| Sample {
            units: 64,
            part_ns,
            level_ns,
            alone: false,
            slowdown: 256,
        };
        (0..STALE).for_each(|_| {
            costs.learn(kind, 64, shared(100_000, 700_000), &mut priors);
        });
        assert!(costs.is_stale(kind, 64));
        assert_eq!(costs.predict(kind, 64).length_ns, 640_000);
        assert!(costs.predict(kind, 64).cost_ns < 120_000);
        costs.learn(kind, 64, shared(100_000, 500_000), &mut priors);
        assert_eq!(
            costs.predict(kind, 64).length_ns,
            500_000,
            "at most the level"
        );
        costs.learn(kind, 64, shared(900_000, 1_800_000), &mut priors);
        assert_eq!(
            costs.predict(kind, 64).length_ns,
            900_000,
            "at least its part"
        );
    }

    #[test]
    fn long_work_is_cut_and_narrow_work_is_not() {
        let (mut costs, mut priors) = (Costs::default(), Priors::default());
        let kind = costs.kind(work(8192), &priors);
        assert_eq!(
            costs.cut(kind, 8192, 8192, 400_000),
            Some(512),
            "a first look"
        );
        costs.learn(kind, 8192, alone(8192, 1_600_000), &mut priors);
        assert_eq!(costs.cut(kind, 8192, 8192, 400_000), Some(2048));
        assert_eq!(costs.cut(kind, 2048, 8192, 400_000), None);
        assert_eq!(costs.cut(kind, 8192, 8192, 2_000_000), None);
        // A quarter of the grid takes as long as all of it.
        costs.learn(kind, 8192, alone(2048, 1_500_000), &mut priors);
        assert_eq!(costs.cut(kind, 8192, 8192, 400_000), None);
    }

    #[test]
    fn a_client_with_endless_kinds_is_bounded() {
        let (mut costs, priors) = (Costs::default(), Priors::default());
        for program in 0..1000 {
            let work = Work {
                program,
                ..work(64)
            };
            let kind = costs.kind(work, &priors);
            assert!(!costs.is_measured(kind));
        }
        assert_eq!(costs.kinds.len(), KINDS);
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let (mut costs, mut priors) = (Costs::default(), Priors::default());
        for units in [0, 1, u64::MAX] {
            let kind = costs.kind(work(units), &priors);
            for time_ns in [0, u64::MAX] {
                costs.learn(kind, units, alone(units, time_ns), &mut priors);
                assert!(costs.predict(kind, u64::MAX).cost_ns <= LONGEST_NS);
                let cut = costs.cut(kind, units.max(1), units, 1);
                assert!(cut.is_none_or(|cut| cut >= 1 && cut < units));
            }
        }
    }
}
