//! A grid that is cut gives what the whole gives.

use crate::corpus::kernels;
use crate::rig::Rig;
use vkmps_gpu::MAX_BUDGET;

#[test]
fn hardened_kernels_compute_what_the_untouched_ones_do() {
    let Some(mut rig) = Rig::open() else { return };
    for kernel in kernels() {
        for module in kernel.modules {
            let untouched = rig.untouched(module, &kernel.work);
            let expected = rig.run_whole(&untouched, &kernel.work, MAX_BUDGET);
            let prepared = rig.rewritten(module);
            let found = rig.run_whole(&prepared, &kernel.work, MAX_BUDGET);
            assert_eq!(found, expected, "{}", kernel.name);
            assert!(expected.words.iter().any(|word| *word != 0));
        }
    }
}

#[test]
fn a_grid_cut_anywhere_gives_what_the_whole_grid_gives() {
    let Some(mut rig) = Rig::open() else { return };
    for kernel in kernels() {
        let untouched = rig.untouched(kernel.modules[0], &kernel.work);
        let expected = rig.run_whole(&untouched, &kernel.work, MAX_BUDGET);
        for module in kernel.modules {
            let pipeline = rig.rewritten(module);
            for axis in 0..3 {
                for slices in 2..=kernel.work.grid[axis] {
                    let cut = cut(kernel.work.grid, axis, slices);
                    let found = rig.run(&pipeline, &kernel.work, &cut, MAX_BUDGET);
                    assert_eq!(found, expected, "{} {cut:?}", kernel.name);
                }
            }
        }
    }
}

/// Bases and numbers of workgroups of this many parts along an axis, the last one first.
fn cut(grid: [u32; 3], axis: usize, slices: u32) -> Vec<([u32; 3], [u32; 3])> {
    let at = |slice: u32| grid[axis] * slice / slices;
    let parts = (0..slices).rev().map(|slice| {
        let (mut base, mut groups) = ([0; 3], grid);
        base[axis] = at(slice);
        groups[axis] = at(slice + 1) - at(slice);
        (base, groups)
    });
    parts.collect()
}
