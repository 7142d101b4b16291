//! Numbers that nobody foresees but who has the seed.

/// SplitMix64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below a number that is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A place in a list that is not empty.
    pub(crate) fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }

    /// A size up to so many bytes, small ones as likely as large ones; a multiple of 8.
    pub(crate) fn size(&mut self, most: u64) -> u64 {
        let most = most >> self.below(12);
        (self.below(most.max(8)) & !7) + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_sizes_are_within_bounds() {
        let (mut one, mut other) = (Chance::of(7), Chance::of(7));
        for _ in 0..1000 {
            let size = one.size(1 << 20);
            assert!(size.is_multiple_of(8) && (8..=1 << 20).contains(&size));
            assert_eq!(size, other.size(1 << 20));
        }
    }
}
