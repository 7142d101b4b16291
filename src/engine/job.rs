//! Jobs: submits, checked and resolved, waiting to be recorded.

use std::sync::Arc;
use vkmps_gpu::{Memory, Pipeline};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::program::Interface;
use vkmps_scheduler::{Hazard, JobKey};

/// A pipeline and what its dispatches must bring; shared by all sessions that know it.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) interface: Interface,
    /// Descriptors over all bindings.
    pub(crate) descriptors: usize,
}

/// A submit. What it holds stays alive until it was recorded; the batch holds it from then on.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// Index of the session.
    pub(crate) session: usize,
    pub(crate) stream: usize,
    /// Bytes of the payload it came from.
    pub(crate) payload_bytes: usize,
    pub(crate) steps: Vec<Step>,
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
        self.bindings.clear();
        self.data.clear();
        self.stages.clear();
        self.hazards.clear();
        self.dispatches = 0;
        self.failure = None;
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

    /// Steps of one stage.
    pub(crate) fn stage(&self, stage: usize) -> &[Step] {
        let Some(end) = self.stages.get(stage) else {
            return &[];
        };
        let start = stage.checked_sub(1).map_or(0, |before| self.stages[before]);
        &self.steps[start..*end]
    }
}

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
