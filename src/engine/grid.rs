//! Cutting grids: a line of workgroups as the few boxes that a device can be given.

use std::ops::Range;

/// Workgroups that one dispatch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// The first, counted from the grid's own first.
    pub(crate) base: [u32; 3],
    /// How many in each dimension, at least 1.
    pub(crate) groups: [u32; 3],
}

/// How many workgroups a grid has; `None` if 64 bits do not hold it.
pub(crate) fn count(grid: [u32; 3]) -> Option<u64> {
    let [x, y, z] = grid.map(u64::from);
    (x * y).checked_mul(z)
}

/// The blocks that are a range of a grid's workgroups, which are numbered along x, then y, then z: in that order, and no
/// more than five, which are the end of a row, rows to the end of a plane, planes, rows, and the beginning of a row.
/// The range lies inside the grid.
pub(crate) fn blocks(grid: [u32; 3], range: Range<u64>) -> Blocks {
    Blocks { grid, range }
}

/// See [`blocks`].
#[derive(Debug)]
pub(crate) struct Blocks {
    grid: [u32; 3],
    range: Range<u64>,
}

impl Iterator for Blocks {
    type Item = Block;

    /// The largest block that begins where the range does: whole planes, else whole rows, else a part of a row.
    fn next(&mut self) -> Option<Block> {
        if self.range.is_empty() {
            return None;
        }
        let (at, left) = (self.range.start, self.range.end - self.range.start);
        let [width, height, _] = self.grid.map(u64::from);
        let plane = width * height;
        // Most ranges are whole grids, and divisions are slow.
        let (z, in_plane) = if at == 0 {
            (0, 0)
        } else {
            (at / plane, at % plane)
        };
        let (y, x) = if in_plane == 0 {
            (0, 0)
        } else {
            (in_plane / width, in_plane % width)
        };
        let groups = if in_plane == 0 && left >= plane {
            [width, height, left / plane]
        } else if x == 0 && left >= width {
            [width, (left / width).min(height - y), 1]
        } else {
            [left.min(width - x), 1, 1]
        };
        self.range.start += groups.into_iter().product::<u64>();
        Some(Block {
            base: narrow([x, y, z]),
            groups: narrow(groups),
        })
    }
}

/// Places and sizes inside a grid, whose own sizes have 32 bits.
fn narrow(sizes: [u64; 3]) -> [u32; 3] {
    sizes.map(|size| u32::try_from(size).expect("a range inside its grid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every workgroup of the blocks, by its number.
    fn numbers(grid: [u32; 3], blocks: &[Block]) -> Vec<u64> {
        let [width, height, _] = grid.map(u64::from);
        let mut all = Vec::new();
        for block in blocks {
            let [x, y, z] = block.base.map(u64::from);
            let [w, h, d] = block.groups.map(u64::from);
            for z in z..z + d {
                for y in y..y + h {
                    all.extend((x..x + w).map(|x| x + width * (y + height * z)));
                }
            }
        }
        all
    }

    #[test]
    fn every_range_of_every_small_grid_is_covered_once_and_in_order_by_at_most_five_blocks() {
        let mut most = 0;
        for width in 1..=4 {
            for height in 1..=4 {
                for depth in 1..=4 {
                    let grid = [width, height, depth];
                    let total = count(grid).expect("a small grid");
                    for from in 0..=total {
                        for to in from..=total {
                            let blocks: Vec<_> = blocks(grid, from..to).collect();
                            let expected: Vec<u64> = (from..to).collect();
                            assert_eq!(numbers(grid, &blocks), expected, "{grid:?} {from}..{to}");
                            most = most.max(blocks.len());
                        }
                    }
                }
            }
        }
        assert_eq!(most, 5);
    }

    #[test]
    fn a_whole_grid_is_one_block() {
        for grid in [
            [1, 1, 1],
            [7, 1, 1],
            [1, 7, 1],
            [1, 1, 7],
            [3, 4, 5],
            [u32::MAX, 1, 1],
            [1, u32::MAX, 1],
            [1, 1, u32::MAX],
            [u32::MAX, u32::MAX, 1],
            [u32::MAX >> 1, 65_535, 65_535],
        ] {
            let total = count(grid).expect("within 64 bits");
            let whole: Vec<_> = blocks(grid, 0..total).collect();
            assert_eq!(
                whole,
                [Block {
                    base: [0; 3],
                    groups: grid
                }]
            );
        }
    }

    #[test]
    fn ranges_of_the_largest_grids_neither_overflow_nor_lose_a_workgroup() {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        for grid in [
            [u32::MAX, 1, 1],
            [1, u32::MAX, 1],
            [1, 1, u32::MAX],
            [u32::MAX, u32::MAX, 1],
            [1, u32::MAX, u32::MAX],
            [u32::MAX >> 1, 65_535, 65_535],
            [65_535, 65_535, 65_535],
        ] {
            let total = count(grid).expect("within 64 bits");
            for _ in 0..2_000 {
                let mut ends = [random.below(total + 1), random.below(total + 1)];
                ends.sort_unstable();
                let [from, to] = ends;
                let blocks: Vec<_> = blocks(grid, from..to).collect();
                assert!(blocks.len() <= 5);
                // Each begins where the one before it ends, so their sizes tell the rest.
                let mut at = from;
                for block in &blocks {
                    assert_eq!(place(grid, block.base), at);
                    for ((base, groups), size) in block.base.iter().zip(block.groups).zip(grid) {
                        let end = base.checked_add(groups);
                        assert!(end.is_some_and(|end| end <= size));
                    }
                    at += count(block.groups).expect("a part is smaller than the whole");
                }
                assert_eq!(at, to);
            }
        }
    }

    #[test]
    fn a_grid_that_64_bits_do_not_count_is_told_apart() {
        assert_eq!(count([u32::MAX; 3]), None);
        assert_eq!(count([0, u32::MAX, u32::MAX]), Some(0));
        assert_eq!(
            count([u32::MAX, u32::MAX, 1]),
            Some(18_446_744_065_119_617_025)
        );
    }

    fn place(grid: [u32; 3], base: [u32; 3]) -> u64 {
        let [width, height, _] = grid.map(u64::from);
        let [x, y, z] = base.map(u64::from);
        x + width * (y + height * z)
    }

    /// Marsaglia's xorshift.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }
}
