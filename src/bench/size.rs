//! Kernels of a wanted length.

use crate::bench::Bench;
use crate::crew::Crew;
use crate::error::Error;
use crate::throughput::Kernel;
use crate::worker::Task;

/// A multiply-add kernel that takes about so long on an own device, with so many workgroups if that is a GPU.
///
/// On a software driver it is the grid that is chosen: llvmpipe runs workgroups one after another, and leaves loops
/// after 65 535 passes.
pub(crate) fn kernel(bench: &Bench, groups: u32, milliseconds: f64) -> Result<Kernel, Error> {
    let groups = if bench.device.cpu { CPU_GROUPS } else { groups };
    let mut iterations = ITERATIONS;
    // What a submission takes by itself is most of the first look, and little of the second.
    for _ in 0..if bench.device.cpu { 1 } else { 2 } {
        let task = Task::Calibrate {
            place: bench.direct(),
            kernel: Kernel::fma(groups, iterations),
            milliseconds,
        };
        let mut found = Crew::prepare(bench, &[task])?.measure::<u32>()?;
        iterations = found.pop().ok_or(Error::WorkerDied)?;
    }
    Ok(match bench.device.cpu {
        false => Kernel::fma(groups, iterations),
        true => {
            let groups = u64::from(groups) * u64::from(iterations) / u64::from(ITERATIONS);
            Kernel::fma(u32::try_from(groups).unwrap_or(u32::MAX).max(1), ITERATIONS)
        }
    })
}

/// Where the search begins, and where it stays on a CPU.
const ITERATIONS: u32 = 200;
const CPU_GROUPS: u32 = 256;
