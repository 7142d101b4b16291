//! What lies beyond an array is its last element, and what was never written is zero.

use crate::rig::{Rig, Work};
use vkmps_gpu::MAX_BUDGET;

#[test]
fn indices_beyond_arrays_stay_inside_them() {
    let Some(mut rig) = Rig::open() else { return };
    for module in [
        include_bytes!("kernels/beyond.plain.spv").as_slice(),
        include_bytes!("kernels/beyond.optimised.spv"),
    ] {
        let kernel = rig.rewritten(module);
        for far in [8, 9, 3000, 100_000_000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let work = Work {
                grid: [1, 1, 1],
                buffers: vec![vec![0; 10], vec![far, 3]],
            };
            let found = rig.run_whole(&kernel, &work, MAX_BUDGET);
            let expected = [55, 55, 66, 77, 88, 5, 4 * 7009, 0, 110, 1];
            assert_eq!(found.words, expected, "{far:#x}");
        }
    }
}
