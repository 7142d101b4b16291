//! From jobs to commands: levels, whose pieces run at the same time stage by stage.

use crate::engine::Engine;
use crate::grid::blocks;
use crate::job::{Job, Jobs, Step, bytes_of};
use std::ops::Range;
use vkmps_gpu::{Batch, Bind, Error, Part, Timing, Word};
use vkmps_protocol::ErrorCode;
use vkmps_scheduler::{JobKey, Level, Piece};

impl Engine {
    /// A batch with everything of a level. Jobs with guarded loops are listed, each with its budget.
    pub(crate) fn record_level(
        &mut self,
        queue: usize,
        level: &Level,
        timing: Timing,
        guarded: &mut Vec<(JobKey, Word)>,
    ) -> Result<Batch, Error> {
        let mut batch = self.spare_batch(queue, timing)?;
        batch.begin()?;
        for piece in &level.pieces {
            if self.jobs.get(piece.job).has_guarded_loops() {
                guarded.push((piece.job, batch.budget(self.loop_budget)?));
            }
        }
        record(&mut batch, &mut self.jobs, &level.pieces, guarded)?;
        batch.end()?;
        Ok(batch)
    }
}

/// All stages of all pieces: what is in one stage may run at the same time. Of a job that has failed nothing more runs.
fn record(
    batch: &mut Batch,
    jobs: &mut Jobs,
    pieces: &[Piece],
    guarded: &[(JobKey, Word)],
) -> Result<(), Error> {
    let mut broken = Vec::new();
    let mut binds = Vec::new();
    let stages = |piece: &Piece| match jobs.get(piece.job) {
        job if job.failure.is_none() => job.stages_in(&(piece.from..piece.to)),
        _ => 0..0,
    };
    let count = pieces.iter().map(|piece| stages(piece).len()).max();
    for stage in 0..count.unwrap_or(0) {
        if stage > 0 {
            batch.barrier()?;
        }
        let mut guarded = guarded.iter().peekable();
        for piece in pieces {
            // In the order of the pieces.
            let word = guarded.next_if(|(job, _)| *job == piece.job);
            let word = word.map_or(Word::COMMON, |(_, word)| *word);
            let Some(stage) = stages(piece).nth(stage) else {
                continue;
            };
            if broken.contains(&piece.job) {
                continue;
            }
            let job = jobs.get(piece.job);
            for (step, units) in job.parts(stage, &(piece.from..piece.to)) {
                match record_step(batch, job, step, units, word, &mut binds) {
                    Ok(()) => {}
                    // The checks before this one let something through: its owner's problem, nobody else's.
                    Err(Error::InvalidUse(_)) => {
                        broken.push(piece.job);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    for key in broken {
        jobs.get_mut(key).failure = Some(ErrorCode::InvalidArgument);
    }
    for piece in pieces {
        let job = jobs.get_mut(piece.job);
        if piece.last || job.failure.is_some() {
            // The batches hold what it uses from here on.
            job.recorded();
        }
    }
    Ok(())
}

/// Records these work units of a step. `binds` is scratch: a dispatch should not allocate.
fn record_step<'a>(
    batch: &mut Batch,
    job: &'a Job,
    step: &'a Step,
    units: Range<u64>,
    word: Word,
    binds: &mut Vec<Bind<'a>>,
) -> Result<(), Error> {
    match step {
        Step::Dispatch {
            program,
            bindings,
            push,
            base,
            groups,
        } => {
            binds.clear();
            binds.extend(
                job.bindings[bindings.start..bindings.end]
                    .iter()
                    .map(|bound| Bind {
                        slot: bound.slot,
                        element: bound.element,
                        memory: &bound.memory,
                        offset: bound.offset,
                        range: bound.range,
                    }),
            );
            let push = &job.data[push.start..push.end];
            for block in blocks(*groups, units) {
                let part = Part {
                    base: [0, 1, 2].map(|axis| base[axis] + block.base[axis]),
                    groups: block.groups,
                    whole: *groups,
                    word,
                };
                batch.dispatch_part(&program.pipeline, binds, push, part)?;
            }
            Ok(())
        }
        Step::Copy {
            source,
            source_offset,
            target,
            target_offset,
            bytes,
        } => {
            let Range { start, end } = bytes_of(&units, *bytes);
            let (from, to) = (source_offset + start, target_offset + start);
            batch.copy(source, from, target, to, end - start)
        }
        Step::Fill {
            target,
            offset,
            bytes,
            word,
        } => {
            let Range { start, end } = bytes_of(&units, *bytes);
            batch.fill(target, offset + start, end - start, *word)
        }
        Step::Update {
            target,
            offset,
            data,
        } => batch.update(target, *offset, &job.data[data.start..data.end]),
    }
}

#[cfg(test)]
mod tests;
