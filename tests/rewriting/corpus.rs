//! Kernels and what they work on.

use crate::rig::Work;

/// A kernel, as compiled without and with optimisation.
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) modules: [&'static [u8]; 2],
    pub(crate) work: Work,
}

macro_rules! kernel {
    ($name:literal, $grid:expr, $output:expr, $($input:expr),*) => {
        Kernel {
            name: $name,
            modules: [
                include_bytes!(concat!("kernels/", $name, ".plain.spv")),
                include_bytes!(concat!("kernels/", $name, ".optimised.spv")),
            ],
            work: Work { grid: $grid, buffers: vec![vec![0; $output], $($input.to_vec()),*] },
        }
    };
}

/// All that end; none does more than 65 535 iterations per invocation, where lavapipe leaves loops without a word.
pub(crate) fn kernels() -> Vec<Kernel> {
    vec![
        kernel!("mandelbrot", [8, 8, 1], 64 * 64, [64, 64, 200]),
        kernel!("matmul", [2, 16, 1], 64 * 64, [64], floats(2 * 64 * 64)),
        kernel!("nbody", [4, 1, 1], 256 * 4, [250], floats(256 * 4)),
        kernel!("primes", [4, 1, 1], 256, [250, 20]),
        kernel!("reduce", [6, 1, 1], 8, [10_000], numbers(10_000)),
        kernel!("tiled", [4, 4, 1], 64 * 64, [64], floats(2 * 64 * 64)),
        kernel!("torture", [4, 1, 1], 128, [0], numbers(1024)),
        kernel!("grid", [3, 4, 5], 3 * 4 * 5 * 12, [7, 1]),
        kernel!("atomics", [5, 1, 1], 32, [50]),
        kernel!("search", [2, 1, 1], 64, [1000, 50]),
        kernel!("squares", [2, 1, 1], 64, [10, 1000, 0, 90_000]),
    ]
}

pub(crate) const ENDLESS: [&[u8]; 4] = [
    include_bytes!("kernels/endless.plain.spv"),
    include_bytes!("kernels/endless.optimised.spv"),
    include_bytes!("kernels/endless_barrier.plain.spv"),
    include_bytes!("kernels/endless_barrier.optimised.spv"),
];

/// One of them, by its name.
pub(crate) fn kernel(name: &str) -> Kernel {
    let mut all = kernels().into_iter();
    all.find(|kernel| kernel.name == name)
        .expect("a kernel of this name")
}

/// Words in no order.
pub(crate) fn numbers(count: u32) -> Vec<u32> {
    let mut state = 1u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 3
        })
        .collect()
}

/// The bits of small whole numbers: sums of their products are exact in any order.
fn floats(count: u32) -> Vec<u32> {
    numbers(count)
        .iter()
        .map(|number| f32::from(u8::try_from(number >> 9 & 15).unwrap_or(0)).to_bits())
        .collect()
}
