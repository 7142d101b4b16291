//! Jobs: submits, checked and resolved, waiting to be recorded.

use crate::grid;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use vkmps_gpu::{Memory, Pipeline};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::program::Interface;
use vkmps_scheduler::{Hazard, JobKey, Work};

/// A pipeline and what its dispatches must bring; shared by all sessions that know it.
#[derive(Debug)]
pub(crate) struct Program {
    /// Tells programs apart where a collision does no harm.
    pub(crate) key: u64,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) interface: Interface,
    /// Descriptors over all bindings.
    pub(crate) descriptors: usize,
}

/// A submit. What it holds stays alive until all of it was recorded; the batches hold it from then on.
///
/// It can run in pieces. Its length is counted in *work units*: workgroups of its dispatches, blocks of [`BLOCK_BYTES`] of
/// its copies and fills, one for each update, in the order of its steps; between any two of them it can be cut.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// Index of the session.
    pub(crate) session: usize,
    pub(crate) stream: usize,
    /// Value of the submit in its stream.
    pub(crate) number: u64,
    /// When it was accepted.
    pub(crate) accepted: Duration,
    /// Stands for the programs that it runs.
    pub(crate) program: u64,
    /// Bytes of the payload it came from.
    pub(crate) payload_bytes: usize,
    pub(crate) steps: Vec<Step>,
    /// Work units up to the end of each step.
    ends: Vec<u64>,
    pub(crate) bindings: Vec<Bound>,
    /// Push constants and update data.
    pub(crate) data: Vec<u8>,
    /// Number of steps before the end of each stage.
    pub(crate) stages: Vec<usize>,
    pub(crate) hazards: Vec<Hazard>,
    /// Among the steps; still known when these are gone.
    pub(crate) dispatches: u32,
    /// Why it could not be recorded: no memory, a bug, or a driver that refuses.
    pub(crate) failure: Option<ErrorCode>,
}

/// A recorded command to be.
#[derive(Debug)]
pub(crate) enum Step {
    Dispatch {
        program: Arc<Program>,
        bindings: Span,
        push: Span,
        base: [u32; 3],
        groups: [u32; 3],
    },
    Copy {
        source: Arc<Memory>,
        source_offset: u64,
        target: Arc<Memory>,
        target_offset: u64,
        bytes: u64,
    },
    Fill {
        target: Arc<Memory>,
        offset: u64,
        bytes: u64,
        word: u32,
    },
    Update {
        target: Arc<Memory>,
        offset: u64,
        data: Span,
    },
}

/// A piece of one of a job's lists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A buffer at a slot of a dispatch.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) slot: u32,
    pub(crate) element: u32,
    pub(crate) memory: Arc<Memory>,
    pub(crate) offset: u64,
    pub(crate) range: u64,
}

impl Job {
    /// Empty again, with its memory kept.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
        self.ends.clear();
        self.bindings.clear();
        self.data.clear();
        self.stages.clear();
        self.hazards.clear();
        self.dispatches = 0;
        self.failure = None;
    }

    /// Appends a step to the last stage. False, and nothing is done, if 64 bits do not count the job's work units: no
    /// device would ever be through with it.
    #[must_use]
    pub(crate) fn push(&mut self, step: Step) -> bool {
        let end = step
            .units()
            .and_then(|units| self.units().checked_add(units));
        let Some(end) = end else {
            return false;
        };
        self.ends.push(end);
        self.steps.push(step);
        true
    }

    /// Its length in work units.
    pub(crate) fn units(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The stages of which work units of this range are part.
    pub(crate) fn stages_in(&self, units: &Range<u64>) -> Range<usize> {
        let to = units.end.min(self.units());
        if units.start >= to {
            return 0..0;
        }
        if self.stages.len() == 1 {
            return 0..1;
        }
        // A stage has a step, and a step has a work unit.
        let end = |stage: &usize| self.ends[stage - 1];
        let first = self
            .stages
            .partition_point(|stage| end(stage) <= units.start);
        let more = self.stages[first..].partition_point(|stage| end(stage) < to);
        first..first + more + 1
    }

    /// The steps of a stage of which work units of this range are part, and which of their own units these are.
    pub(crate) fn parts(
        &self,
        stage: usize,
        units: &Range<u64>,
    ) -> impl Iterator<Item = (&Step, Range<u64>)> {
        let end = self.stages[stage];
        let start = stage.checked_sub(1).map_or(0, |before| self.stages[before]);
        let first = start + self.ends[start..end].partition_point(|end| *end <= units.start);
        let Range {
            start: from,
            end: to,
        } = *units;
        (first..end)
            .map(move |index| {
                let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
                let part = from.max(begin)..to.min(self.ends[index]);
                (index, begin, part)
            })
            .take_while(|(_, _, part)| part.start < part.end)
            .map(|(index, begin, part)| (&self.steps[index], part.start - begin..part.end - begin))
    }

    /// What the scheduler foresees its cost from.
    pub(crate) fn work(&self) -> Work {
        let mut program = 0_u64;
        for step in &self.steps {
            let key = match step {
                Step::Dispatch { program, .. } => program.key,
                Step::Copy { .. } => 1,
                Step::Fill { .. } => 2,
                Step::Update { .. } => 3,
            };
            program = (program.rotate_left(5) ^ key).wrapping_mul(MIX);
        }
        Work {
            program,
            units: self.units(),
            divisible: true,
        }
    }

    /// Drops what only recording needs.
    pub(crate) fn recorded(&mut self) {
        let (dispatches, failure) = (self.dispatches, self.failure);
        self.clear();
        (self.dispatches, self.failure) = (dispatches, failure);
    }

    /// Whether a program of it counts the iterations of its loops.
    pub(crate) fn has_guarded_loops(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Dispatch { program, .. } => program.pipeline.uses_desk(),
            Step::Copy { .. } | Step::Fill { .. } | Step::Update { .. } => false,
        })
    }
}

impl Step {
    /// Its length in work units; `None` if 64 bits do not hold it.
    fn units(&self) -> Option<u64> {
        match self {
            Step::Dispatch { groups, .. } => grid::count(*groups),
            Step::Copy { bytes, .. } | Step::Fill { bytes, .. } => {
                Some(bytes.div_ceil(BLOCK_BYTES))
            }
            Step::Update { .. } => Some(1),
        }
    }
}

/// The bytes of a copy or fill that some of its work units are; the last one may be shorter than the others.
pub(crate) fn bytes_of(units: &Range<u64>, bytes: u64) -> Range<u64> {
    units.start * BLOCK_BYTES..units.end.saturating_mul(BLOCK_BYTES).min(bytes)
}

/// 2^64 over the golden ratio: spreads what is multiplied by it.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// All jobs, by key; slots and their lists are reused.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    slots: Vec<Job>,
    free: Vec<u32>,
}

impl Jobs {
    /// An empty job.
    pub(crate) fn take(&mut self) -> JobKey {
        if let Some(slot) = self.free.pop() {
            return JobKey(slot);
        }
        let slot =
            u32::try_from(self.slots.len()).expect("rings bound the number of jobs far below 2^32");
        self.slots.push(Job::default());
        JobKey(slot)
    }

    pub(crate) fn give_back(&mut self, key: JobKey) {
        let job = &mut self.slots[key.0 as usize];
        job.clear();
        // One huge submit must not keep its memory for ever.
        if job.steps.capacity() > 1024
            || job.bindings.capacity() > 1024
            || job.hazards.capacity() > 1024
            || job.data.capacity() > 64 * 1024
        {
            *job = Job::default();
        }
        self.free.push(key.0);
    }

    pub(crate) fn get(&self, key: JobKey) -> &Job {
        &self.slots[key.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, key: JobKey) -> &mut Job {
        &mut self.slots[key.0 as usize]
    }
}

/// What a work unit of a copy or fill moves: a multiple of 4, as fills want.
const BLOCK_BYTES: u64 = 64 << 10;
