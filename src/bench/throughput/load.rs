//! What a throughput client computes with, and whether the results are right.

use super::kernel::Kernel;
use crate::backend::{Backend, BufferId, Lane, ProgramId, Residence, Work};
use crate::chain::{self, Link};
use crate::error::Error;
use std::time::{Duration, Instant};

/// A backend with everything that the loop needs.
pub(crate) struct Load<'a> {
    backend: &'a mut dyn Backend,
    kernel: Kernel,
    program: ProgramId,
    push: Vec<u8>,
    /// The buffers of each lane, and how many dispatches they saw.
    lanes: Vec<(Vec<BufferId>, u64)>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(
        backend: &'a mut dyn Backend,
        kernel: Kernel,
        depth: usize,
    ) -> Result<Self, Error> {
        let program = backend.program(kernel.shader())?;
        let count = kernel.elements() as usize;
        let mut lanes = Vec::new();
        for _ in 0..depth {
            let mut buffers = Vec::new();
            for place in 0..kernel.shader().buffers.len() {
                let buffer = backend.buffer(kernel.buffer_bytes(), Residence::Device)?;
                let first = if kernel.counts() {
                    chain::START
                } else {
                    place as f32 + 1.0
                };
                backend.write(buffer, &bytes_of(&vec![first; count]))?;
                buffers.push(buffer);
            }
            lanes.push((buffers, 0));
        }
        Ok(Self {
            backend,
            kernel,
            program,
            push: kernel.push(),
            lanes,
        })
    }

    /// Some dispatches on every lane: the driver compiles, clocks rise.
    pub(crate) fn warm_up(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        for round in 0..WARM_UP {
            if round > 0 && start.elapsed() > WARM_UP_TIME {
                break;
            }
            for lane in 0..self.lanes.len() {
                self.submit(lane)?;
            }
            for lane in 0..self.lanes.len() {
                self.backend.wait(Lane(lane))?;
            }
        }
        self.run()
    }

    pub(crate) fn submit(&mut self, lane: usize) -> Result<(), Error> {
        self.dispatch(lane, |backend, work| backend.submit(Lane(lane), work))
    }

    pub(crate) fn run(&mut self) -> Result<(), Error> {
        self.dispatch(0, |backend, work| backend.run(work))
    }

    pub(crate) fn depth(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn wait(&mut self, lane: usize) -> Result<(), Error> {
        self.backend.wait(Lane(lane))
    }

    /// The value of each lane's buffer, after checking that all its elements agree.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        for lane in 0..self.lanes.len() {
            let (buffer, dispatches) = (self.lanes[lane].0[0], self.lanes[lane].1);
            let values = self.read(buffer)?;
            let first = values.first().copied().unwrap_or_default();
            if values
                .iter()
                .any(|value| value.to_bits() != first.to_bits())
            {
                return Err(Error::Wrong("equal numbers became different".to_owned()));
            }
            links.push(Link {
                dispatches,
                bits: first.to_bits(),
            });
        }
        Ok(links)
    }

    /// One more dispatch over numbers that all differ: every element is its own.
    pub(crate) fn check_each_element(&mut self) -> Result<(), Error> {
        let buffer = self.lanes[0].0[0];
        let before: Vec<f32> = (0..self.kernel.elements())
            .map(|index| index as f32 / 1024.0)
            .collect();
        self.backend.write(buffer, &bytes_of(&before))?;
        self.run()?;
        let after = self.read(buffer)?;
        // Odd, so that it meets every thread of a workgroup.
        let step = CHECK_STEP.max(after.len() / CHECKS) | 1;
        for (index, (before, after)) in before.into_iter().zip(after).enumerate().step_by(step) {
            let expected = chain::once(before, self.kernel.iterations);
            if !expected.contains(&after) {
                let text = format!("element {index} is {after:?}, should be one of {expected:?}");
                return Err(Error::Wrong(text));
            }
        }
        Ok(())
    }

    pub(crate) fn check_sum(&mut self) -> Result<(), Error> {
        for lane in 0..self.lanes.len() {
            let sum = self.lanes[lane].0[2];
            if self.read(sum)?.iter().any(|value| *value != 3.0) {
                return Err(Error::Wrong("1 + 2 is not 3 everywhere".to_owned()));
            }
        }
        Ok(())
    }

    /// Counts one more dispatch of the lane, and hands it over.
    fn dispatch(
        &mut self,
        lane: usize,
        hand_over: impl FnOnce(&mut dyn Backend, &Work<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (buffers, seen) = &mut self.lanes[lane];
        let work = Work {
            program: self.program,
            groups: [self.kernel.groups, 1, 1],
            push: &self.push,
            buffers,
        };
        *seen += 1;
        hand_over(self.backend, &work)
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<f32>, Error> {
        let mut bytes = vec![0; self.kernel.elements() as usize * 4];
        self.backend.read(buffer, &mut bytes)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect())
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Dispatches per lane before anything is measured.
const WARM_UP: usize = 5;
/// Slow devices need no more than one.
const WARM_UP_TIME: Duration = Duration::from_millis(200);
/// The reference takes 50 us per element; this step meets every workgroup at different threads.
const CHECK_STEP: usize = 67;
/// No more than about so many.
const CHECKS: usize = 2000;
