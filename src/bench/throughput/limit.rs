//! The best that one process can do: merged dispatches without barriers between them, on several queues, each batch
//! recorded anew, two batches in flight per queue.

use super::kernel::Kernel;
use crate::backend::{open_device, pipeline};
use crate::chain::{self, Link};
use crate::crew::inside;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vkmps_gpu::{
    Batch, Bind, Device, DeviceKind, Kind, Memory, Pipeline, Queue, Timeline, Timing, wait_any,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) device: Option<usize>,
    pub(crate) kernel: Kernel,
    pub(crate) seconds: f64,
    /// What to measure; without it the best is searched.
    pub(crate) shape: Option<Shape>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) queues: usize,
    /// Dispatches per command buffer.
    pub(crate) merged: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) shape: Shape,
    pub(crate) per_second: f64,
    pub(crate) links: Vec<Link>,
}

impl Limit {
    pub(crate) fn run(self) -> Result<(), Error> {
        let (device, queues) = open_device(self.device, u32::MAX)?;
        let mut engine = Engine::new(&device, queues, self.kernel)?;
        engine.measure(
            Shape {
                queues: 1,
                merged: 1,
            },
            SEARCH,
        )?;
        inside::line_up()?;
        let (shape, per_second) = match self.shape {
            Some(shape) => (
                shape,
                engine.measure(shape, Duration::from_secs_f64(self.seconds))?,
            ),
            None => engine.search()?,
        };
        inside::say(&Found {
            shape,
            per_second,
            links: engine.links()?,
        })
    }
}

/// All queues of the device, and the work for them.
struct Engine {
    lines: Vec<Line>,
    device: Arc<Device>,
    work: Dispatches,
}

/// One queue with its two batches.
struct Line {
    // Before the rest: dropping it waits for its work.
    queue: Queue,
    timeline: Timeline,
    batches: [Batch; IN_FLIGHT],
    /// Timeline values of the batches in flight, and which of the two comes next.
    values: [Option<u64>; IN_FLIGHT],
    next: usize,
}

/// The same dispatch on many places of one memory.
struct Dispatches {
    kernel: Kernel,
    pipeline: Arc<Pipeline>,
    push: Vec<u8>,
    memory: Arc<Memory>,
    /// Bytes from one buffer to the next.
    pitch: u64,
    /// How many dispatches each place saw.
    seen: Vec<u64>,
}

impl Engine {
    fn new(device: &Arc<Device>, queues: Vec<Queue>, kernel: Kernel) -> Result<Self, Error> {
        let lines = queues.into_iter().map(|queue| Line::new(device, queue));
        let mut lines: Vec<Line> = lines.collect::<Result<_, _>>()?;
        let places = lines.len() * IN_FLIGHT * MOST_MERGED;
        let pitch = kernel
            .buffer_bytes()
            .next_multiple_of(device.info().limits.storage_alignment.max(4));
        let buffers = kernel.shader().buffers.len() as u64;
        let bytes = (pitch * buffers * places as u64).max(4);
        let mut work = Dispatches {
            kernel,
            pipeline: pipeline(device, kernel.shader())?,
            push: kernel.push(),
            memory: Memory::allocate(device, bytes, Kind::DeviceLocal)?,
            pitch,
            seen: vec![0; places],
        };
        work.clear(device, &mut lines[0].queue)?;
        Ok(Self {
            lines,
            device: Arc::clone(device),
            work,
        })
    }

    /// Measures all shapes shortly and returns the best.
    fn search(&mut self) -> Result<(Shape, f64), Error> {
        let all = self.lines.len();
        let mut best: Option<(Shape, f64)> = None;
        let counts = [1, 2, 4, 8, all];
        let counts = counts
            .iter()
            .enumerate()
            .filter(|(at, count)| **count <= all && !counts[..*at].contains(count));
        for (_, queues) in counts {
            for merged in (0..)
                .map(|power| 1 << power)
                .take_while(|merged| *merged <= MOST_MERGED)
            {
                let shape = Shape {
                    queues: *queues,
                    merged,
                };
                let rate = self.measure(shape, SEARCH)?;
                if best.is_none_or(|(_, best)| rate > best) {
                    best = Some((shape, rate));
                }
            }
        }
        best.ok_or(Error::Usage("the device has no queue"))
    }

    /// Dispatches per second.
    fn measure(&mut self, shape: Shape, duration: Duration) -> Result<f64, Error> {
        let start = Instant::now();
        let mut done = 0;
        let lines = &mut self.lines[..shape.queues];
        for (index, line) in lines.iter_mut().enumerate() {
            for _ in 0..IN_FLIGHT {
                line.submit(index, shape.merged, &mut self.work)?;
            }
        }
        while lines.iter().any(|line| line.values[line.next].is_some()) {
            let open = start.elapsed() < duration;
            let mut progress = false;
            for (index, line) in lines.iter_mut().enumerate() {
                if line.reap()? {
                    done += shape.merged;
                    progress = true;
                    if open {
                        line.submit(index, shape.merged, &mut self.work)?;
                    } else {
                        line.next = (line.next + 1) % IN_FLIGHT;
                    }
                }
            }
            if !progress {
                idle(&self.device, lines)?;
            }
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    }

    /// The value of every place, each read once.
    fn links(&mut self) -> Result<Vec<Link>, Error> {
        if !self.work.kernel.counts() {
            return Ok(Vec::new());
        }
        let bytes = self.work.memory.len();
        let staging = Memory::allocate(&self.device, bytes, Kind::HostVisible)?;
        let mut batch = Batch::new(&self.device, Timing::Off)?;
        batch.begin()?;
        batch.copy(&self.work.memory, 0, &staging, 0, bytes)?;
        batch.end()?;
        self.lines[0]
            .queue
            .submit_and_wait(&mut batch, vkmps_gpu::Wait::Block)?;
        let mut links = Vec::new();
        for (place, dispatches) in self.work.seen.iter().enumerate() {
            let mut word = [0; 4];
            staging.read(place as u64 * self.work.pitch, &mut word)?;
            links.push(Link {
                dispatches: *dispatches,
                bits: u32::from_le_bytes(word),
            });
        }
        Ok(links)
    }
}

impl Line {
    fn new(device: &Arc<Device>, queue: Queue) -> Result<Self, Error> {
        let batches = [
            Batch::new(device, Timing::Off)?,
            Batch::new(device, Timing::Off)?,
        ];
        Ok(Self {
            timeline: queue.timeline(),
            queue,
            batches,
            values: [None; IN_FLIGHT],
            next: 0,
        })
    }

    /// Fills the oldest batch anew and submits it.
    fn submit(&mut self, index: usize, merged: usize, work: &mut Dispatches) -> Result<(), Error> {
        let batch = &mut self.batches[self.next];
        batch.begin()?;
        let first = (index * IN_FLIGHT + self.next) * MOST_MERGED;
        for place in first..first + merged {
            work.record(batch, place)?;
        }
        batch.end()?;
        self.values[self.next] = Some(self.queue.submit(&mut [batch])?);
        self.next = (self.next + 1) % IN_FLIGHT;
        Ok(())
    }

    /// Whether the oldest batch in flight is complete; it then counts as gone.
    fn reap(&mut self) -> Result<bool, Error> {
        let Some(value) = self.values[self.next] else {
            return Ok(false);
        };
        let complete = self.timeline.has_reached(value)?;
        if complete {
            self.values[self.next] = None;
        }
        Ok(complete)
    }
}

impl Dispatches {
    fn record(&mut self, batch: &mut Batch, place: usize) -> Result<(), Error> {
        let buffers = self.kernel.shader().buffers.len();
        let bind = |slot: usize| Bind {
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            element: 0,
            memory: &self.memory,
            offset: (place * buffers + slot) as u64 * self.pitch,
            range: self.kernel.buffer_bytes(),
        };
        let bindings: Vec<_> = (0..buffers).map(bind).collect();
        let groups = [self.kernel.groups, 1, 1];
        batch.dispatch(&self.pipeline, &bindings, &self.push, [0; 3], groups)?;
        self.seen[place] += 1;
        Ok(())
    }

    fn clear(&mut self, device: &Arc<Device>, queue: &mut Queue) -> Result<(), Error> {
        let mut batch = Batch::new(device, Timing::Off)?;
        batch.begin()?;
        batch.fill(&self.memory, 0, self.memory.len(), chain::START.to_bits())?;
        batch.end()?;
        Ok(queue.submit_and_wait(&mut batch, vkmps_gpu::Wait::Block)?)
    }
}

/// Polls a GPU; leaves the processor to a device that computes on it.
fn idle(device: &Arc<Device>, lines: &[Line]) -> Result<(), Error> {
    if device.info().kind != DeviceKind::Cpu {
        std::hint::spin_loop();
        return Ok(());
    }
    let points = lines
        .iter()
        .filter_map(|line| Some((&line.timeline, line.values[line.next]?)));
    wait_any(device, &points.collect::<Vec<_>>(), Duration::from_secs(1))?;
    Ok(())
}

const IN_FLIGHT: usize = 2;
const MOST_MERGED: usize = 64;
/// How long each shape runs in the search.
const SEARCH: Duration = Duration::from_millis(250);
