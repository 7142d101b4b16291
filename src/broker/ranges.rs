//! Sub-allocation of one span of bytes: best fit, coalescing, all operations logarithmic.

use std::collections::{BTreeMap, BTreeSet};

/// The free and used ranges of a span `0..total`. Callers keep the sizes they asked for, all multiples of one granule,
/// so that every offset is a multiple of it too.
#[derive(Debug, Clone)]
pub(crate) struct Ranges {
    total: u64,
    used: u64,
    /// End of the highest range ever handed out: below it bytes may be stale.
    high_water: u64,
    /// Length of each free range by its offset; neighbours are always merged.
    free: BTreeMap<u64, u64>,
    /// The same ranges as (length, offset).
    by_length: BTreeSet<(u64, u64)>,
}

/// A range that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    /// Whether some of it may have been handed out before.
    pub(crate) reused: bool,
}

impl Ranges {
    pub(crate) fn new(total: u64) -> Self {
        let mut ranges = Self {
            total,
            used: 0,
            high_water: 0,
            free: BTreeMap::new(),
            by_length: BTreeSet::new(),
        };
        if total > 0 {
            ranges.put(0, total);
        }
        ranges
    }

    /// Bytes handed out.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// The smallest free range that holds `bytes`, at its lower end.
    pub(crate) fn allocate(&mut self, bytes: u64) -> Option<Range> {
        if bytes == 0 {
            return None;
        }
        let &(length, offset) = self.by_length.range((bytes, 0)..).next()?;
        self.take(offset, length);
        if length > bytes {
            self.put(offset + bytes, length - bytes);
        }
        let reused = offset < self.high_water;
        self.high_water = self.high_water.max(offset + bytes);
        self.used += bytes;
        Some(Range { offset, reused })
    }

    /// Takes back exactly what [`Self::allocate`] handed out.
    pub(crate) fn release(&mut self, offset: u64, bytes: u64) {
        self.used -= bytes;
        let mut start = offset;
        let mut length = bytes;
        if let Some((&before, &before_length)) = self.free.range(..offset).next_back() {
            debug_assert!(before + before_length <= offset, "released twice");
            if before + before_length == offset {
                self.take(before, before_length);
                start = before;
                length += before_length;
            }
        }
        if let Some((&after, &after_length)) = self.free.range(offset..).next() {
            debug_assert!(offset + bytes <= after, "released twice");
            if offset + bytes == after {
                self.take(after, after_length);
                length += after_length;
            }
        }
        self.put(start, length);
    }

    /// # Panics
    /// If the bookkeeping contradicts itself.
    pub(crate) fn verify_invariants(&self) {
        let mut end_of_last = None;
        let mut free = 0;
        for (&offset, &length) in &self.free {
            assert!(length > 0 && end_of_last.is_none_or(|end| end < offset));
            assert!(self.by_length.contains(&(length, offset)));
            free += length;
            end_of_last = Some(offset + length);
        }
        assert_eq!(self.free.len(), self.by_length.len());
        assert!(end_of_last.unwrap_or(0) <= self.total);
        assert_eq!(free + self.used, self.total);
    }

    fn put(&mut self, offset: u64, length: u64) {
        self.free.insert(offset, length);
        self.by_length.insert((length, offset));
    }

    fn take(&mut self, offset: u64, length: u64) {
        self.free.remove(&offset);
        self.by_length.remove(&(length, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_was_handed_out_before_is_reused() {
        let mut ranges = Ranges::new(1024);
        let first = ranges.allocate(256).unwrap();
        assert!(!first.reused);
        ranges.release(first.offset, 256);
        assert!(ranges.allocate(512).unwrap().reused);
        assert!(!ranges.allocate(512).unwrap().reused);
        assert_eq!(ranges.allocate(1), None);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_nothing_is_lost(ops in prop::collection::vec((0u8..4, 1u64..40), 0..200)) {
            let mut ranges = Ranges::new(256);
            let mut live: Vec<(u64, u64)> = Vec::new();
            let mut touched = [false; 256];
            for (kind, n) in ops {
                if kind > 0 {
                    let fits = ranges.by_length.iter().any(|&(length, _)| length >= n);
                    let got = ranges.allocate(n);
                    prop_assert_eq!(got.is_some(), fits);
                    if let Some(range) = got {
                        let end = range.offset + n;
                        prop_assert!(end <= 256);
                        prop_assert!(live.iter().all(|&(o, l)| end <= o || o + l <= range.offset));
                        let span = usize::try_from(range.offset).unwrap()..usize::try_from(end).unwrap();
                        prop_assert!(range.reused || touched[span.clone()].iter().all(|t| !t));
                        touched[span].fill(true);
                        live.push((range.offset, n));
                    }
                } else if !live.is_empty() {
                    let index = usize::try_from(n).unwrap() % live.len();
                    let (offset, length) = live.swap_remove(index);
                    ranges.release(offset, length);
                }
                ranges.verify_invariants();
                prop_assert_eq!(ranges.used(), live.iter().map(|&(_, l)| l).sum::<u64>());
            }
        }
    }
}
