//! Loops end, at the budget and not before.

use crate::corpus::{ENDLESS, kernel, kernels};
use crate::rig::{Rig, Work};
use vkmps_gpu::MAX_BUDGET;

#[test]
fn loops_without_end_are_ended_and_told_of_while_others_go_on() {
    let Some(mut rig) = Rig::open() else { return };
    let good = kernel("reduce");
    let reference = rig.rewritten(good.modules[0]);
    let expected = rig.run_whole(&reference, &good.work, MAX_BUDGET);
    let work = Work {
        grid: [4, 1, 1],
        buffers: vec![vec![0; 256]],
    };
    for module in ENDLESS {
        let endless = rig.rewritten(module);
        // Well below the 65 535 iterations after which lavapipe leaves a loop by itself.
        let outcome = rig.run_whole(&endless, &work, 5000);
        assert!(outcome.used_up);
        assert_eq!(rig.run_whole(&reference, &good.work, MAX_BUDGET), expected);
    }
}

/// Iterations that an invocation of a kernel is charged for at most, and whether less is told of.
const BUDGETS: [(&str, u32); 5] = [
    // Exactly the iterations of its only loop.
    ("nbody", 250),
    ("mandelbrot", 200),
    // The rows of a tile weigh as much as the tile: 4 of 1 + 17.
    ("tiled", 4 * 18),
    // 50 rounds of 4 and 3 iterations, and what is charged before it is given back.
    ("search", 50 + 50 * (4 + 3) + 1000),
    ("squares", 301 + 160),
];

#[test]
fn a_budget_of_what_a_kernel_does_suffices() {
    let Some(mut rig) = Rig::open() else { return };
    for (name, budget) in BUDGETS {
        let kernel = kernel(name);
        for module in kernel.modules {
            let rewritten = rig.rewritten(module);
            let expected = rig.run_whole(&rewritten, &kernel.work, MAX_BUDGET);
            assert!(!expected.used_up, "{name}");
            let found = rig.run_whole(&rewritten, &kernel.work, budget);
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn a_budget_of_less_is_told_of() {
    let Some(mut rig) = Rig::open() else { return };
    for (name, budget) in [
        ("nbody", 249),
        ("mandelbrot", 199),
        ("tiled", 71),
        ("search", 400),
        ("squares", 299),
    ] {
        let kernel = kernel(name);
        for module in kernel.modules {
            let rewritten = rig.rewritten(module);
            let found = rig.run_whole(&rewritten, &kernel.work, budget);
            assert!(found.used_up, "{name}");
        }
    }
}

#[test]
fn every_kernel_ends_at_every_budget() {
    let Some(mut rig) = Rig::open() else { return };
    for kernel in kernels() {
        for module in kernel.modules {
            let rewritten = rig.rewritten(module);
            for budget in [1, 2, 3, 5, 17, 40, 300, 5000] {
                rig.run_whole(&rewritten, &kernel.work, budget);
            }
        }
    }
}
