//! From commands to a job: every handle resolved, every rule of Vulkan checked, hazards and stages worked out.
//!
//! Robustness does not cover transfers, alignments or grids; what is wrong here must not reach the driver.

use crate::job::{Bound, Job, Span, Step};
use crate::session::{Buffer, Objects};
use vkmps_gpu::Limits;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::{self, Binding, Command, CopyBody, DispatchBody, FillBody};
use vkmps_protocol::limits::{MAX_BINDINGS, MAX_SUBMIT_COMMANDS};
use vkmps_protocol::program::{Access, BindingKind};
use vkmps_protocol::sharing::Grant;
use vkmps_scheduler::Hazard;

/// Why a payload became no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A rule was broken; the stream is poisoned.
    Code(ErrorCode),
    /// The payload is no list of commands; the session is over.
    Malformed(&'static str),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal::Code(code)
    }
}

/// Fills an empty job. `explicit`: only barriers order.
pub(crate) fn resolve(
    mut payload: &[u8],
    commands: u32,
    explicit: bool,
    objects: &Objects,
    limits: &Limits,
    job: &mut Job,
) -> Result<(), Refusal> {
    if commands as usize > MAX_SUBMIT_COMMANDS {
        return Err(Refusal::Malformed("more commands than a submit can have"));
    }
    let mut resolver = Resolver {
        objects,
        limits,
        job,
        explicit,
        stage_hazards: 0,
    };
    for _ in 0..commands {
        let (command, rest) = command::decode(payload).map_err(Refusal::Malformed)?;
        match command {
            Command::Dispatch {
                body,
                push,
                bindings,
            } => resolver.dispatch(body, push, bindings)?,
            Command::Copy(body) => resolver.copy(body)?,
            Command::Fill(body) => resolver.fill(body)?,
            Command::Update { body, data } => resolver.update(body, data)?,
            Command::Barrier => resolver.end_stage(),
        }
        payload = rest;
    }
    if !payload.is_empty() {
        return Err(Refusal::Malformed("bytes after the last command"));
    }
    resolver.end_stage();
    resolver.simplify_hazards();
    Ok(())
}

struct Resolver<'a> {
    objects: &'a Objects,
    limits: &'a Limits,
    job: &'a mut Job,
    explicit: bool,
    /// Where the current stage begins in the job's hazards.
    stage_hazards: usize,
}

impl<'a> Resolver<'a> {
    fn dispatch(
        &mut self,
        body: DispatchBody,
        push: &[u8],
        bindings: &[Binding],
    ) -> Result<(), ErrorCode> {
        let objects = self.objects;
        let program = objects
            .programs
            .get(body.program)
            .ok_or(ErrorCode::InvalidHandle)?;
        if push.len() != program.interface.push_bytes as usize {
            return Err(ErrorCode::PushConstantMismatch);
        }
        for ((base, groups), max) in body
            .base
            .into_iter()
            .zip(body.groups)
            .zip(self.limits.max_groups)
        {
            if base.checked_add(groups).is_none_or(|end| end > max) {
                return Err(ErrorCode::GroupCount);
            }
        }
        if bindings.len() != program.descriptors || bindings.len() > MAX_BINDINGS {
            return Err(ErrorCode::BindingMismatch);
        }
        let first_binding = self.job.bindings.len();
        let first_hazard = self.job.hazards.len();
        for (index, binding) in bindings.iter().enumerate() {
            let twice = |other: &Binding| {
                (other.set, other.binding, other.element)
                    == (binding.set, binding.binding, binding.element)
            };
            if bindings[..index].iter().any(twice) {
                return Err(ErrorCode::BindingMismatch);
            }
            let info = program
                .interface
                .bindings
                .iter()
                .find(|info| {
                    info.set == u32::from(binding.set) && info.binding == u32::from(binding.binding)
                })
                .filter(|info| u32::from(binding.element) < info.count)
                .ok_or(ErrorCode::BindingMismatch)?;
            let declared =
                Access::try_from(binding.access).map_err(|()| ErrorCode::BindingMismatch)?;
            if info.access.writes() && !declared.writes() {
                return Err(ErrorCode::BindingMismatch);
            }
            let (alignment, most) = match info.kind {
                BindingKind::Storage => {
                    (self.limits.storage_alignment, self.limits.max_storage_range)
                }
                BindingKind::Uniform => {
                    (self.limits.uniform_alignment, self.limits.max_uniform_range)
                }
            };
            let buffer = self.buffer(binding.buffer, binding.offset, binding.range)?;
            // What is declared covers what the module does: that was checked above.
            if declared.writes() {
                may_write(buffer)?;
            }
            let offset = buffer.offset + binding.offset;
            if binding.range == 0 || binding.range > most {
                return Err(ErrorCode::OutOfRange);
            }
            if offset % alignment != 0 {
                return Err(ErrorCode::InvalidArgument);
            }
            let hazard = hazard(buffer, offset, binding.range, declared.writes());
            self.job.hazards.push(hazard);
            let memory = buffer.memory.clone();
            let element = u32::from(binding.element);
            self.job.bindings.push(Bound {
                slot: info.slot,
                element,
                memory,
                offset,
                range: binding.range,
            });
        }
        let data = self.data(push);
        self.order(first_hazard);
        // A grid without workgroups is legal and does nothing.
        if body.groups.iter().all(|groups| *groups > 0) {
            let bindings = Span {
                start: first_binding,
                end: self.job.bindings.len(),
            };
            let (base, groups) = (body.base, body.groups);
            self.job.dispatches += 1;
            self.push(Step::Dispatch {
                program: program.clone(),
                bindings,
                push: data,
                base,
                groups,
            })?;
        }
        Ok(())
    }

    fn copy(&mut self, body: CopyBody) -> Result<(), ErrorCode> {
        let source = self.buffer(body.source, body.source_offset, body.bytes)?;
        let target = self.buffer(body.target, body.target_offset, body.bytes)?;
        may_write(target)?;
        let (from, to) = (
            source.offset + body.source_offset,
            target.offset + body.target_offset,
        );
        if source.chunk == target.chunk && from < to + body.bytes && to < from + body.bytes {
            return Err(ErrorCode::InvalidArgument);
        }
        if body.bytes == 0 {
            return Ok(());
        }
        let first = self.job.hazards.len();
        self.job
            .hazards
            .push(hazard(source, from, body.bytes, false));
        self.job.hazards.push(hazard(target, to, body.bytes, true));
        let (source, target) = (source.memory.clone(), target.memory.clone());
        self.order(first);
        let step = Step::Copy {
            source,
            source_offset: from,
            target,
            target_offset: to,
            bytes: body.bytes,
        };
        self.push(step)
    }

    fn fill(&mut self, body: FillBody) -> Result<(), ErrorCode> {
        if let Some((target, offset)) = self.written(body)? {
            self.push(Step::Fill {
                target,
                offset,
                bytes: body.bytes,
                word: body.word,
            })?;
        }
        Ok(())
    }

    fn update(&mut self, body: FillBody, data: &[u8]) -> Result<(), ErrorCode> {
        if body.bytes != data.len() as u64 {
            return Err(ErrorCode::InvalidArgument);
        }
        if let Some((target, offset)) = self.written(body)? {
            let data = self.data(data);
            self.push(Step::Update {
                target,
                offset,
                data,
            })?;
        }
        Ok(())
    }

    /// Target of a fill or update; `None` when there is nothing to write.
    fn written(
        &mut self,
        body: FillBody,
    ) -> Result<Option<(std::sync::Arc<vkmps_gpu::Memory>, u64)>, ErrorCode> {
        let target = self.buffer(body.target, body.offset, body.bytes)?;
        may_write(target)?;
        let offset = target.offset + body.offset;
        if !(offset | body.bytes).is_multiple_of(4) {
            return Err(ErrorCode::InvalidArgument);
        }
        if body.bytes == 0 {
            return Ok(None);
        }
        let first = self.job.hazards.len();
        self.job
            .hazards
            .push(hazard(target, offset, body.bytes, true));
        let memory = target.memory.clone();
        self.order(first);
        Ok(Some((memory, offset)))
    }

    fn push(&mut self, step: Step) -> Result<(), ErrorCode> {
        match self.job.push(step) {
            true => Ok(()),
            false => Err(ErrorCode::GroupCount),
        }
    }

    fn buffer(&self, handle: u64, offset: u64, bytes: u64) -> Result<&'a Buffer, ErrorCode> {
        let objects: &'a Objects = self.objects;
        let buffer = objects
            .buffers
            .get(handle)
            .ok_or(ErrorCode::InvalidHandle)?;
        match offset.checked_add(bytes) {
            Some(end) if end <= buffer.bytes => Ok(buffer),
            _ => Err(ErrorCode::OutOfRange),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Span {
        let start = self.job.data.len();
        self.job.data.extend_from_slice(bytes);
        Span {
            start,
            end: self.job.data.len(),
        }
    }

    /// Begins a new stage if the hazards from `first` on conflict with the current stage.
    fn order(&mut self, first: usize) {
        if self.explicit {
            return;
        }
        let (before, new) = self.job.hazards.split_at(first);
        let stage = &before[self.stage_hazards.min(first)..];
        // Comparing everything with everything would be quadratic in what a client sends.
        let conflict = stage.len() > STAGE_HAZARDS
            || new
                .iter()
                .any(|one| stage.iter().any(|other| one.conflicts(other)));
        if conflict {
            self.end_stage();
            self.stage_hazards = first;
        }
    }

    /// Steps so far come before steps from now on.
    fn end_stage(&mut self) {
        let steps = self.job.steps.len();
        if steps > self.job.stages.last().copied().unwrap_or(0) {
            self.job.stages.push(steps);
        }
        self.stage_hazards = self.job.hazards.len();
    }

    /// Few hazards for the scheduler, which compares them pairwise: one range per chunk if there are many, or one that
    /// conflicts with everything.
    fn simplify_hazards(&mut self) {
        let hazards = &mut self.job.hazards;
        if hazards.len() <= JOB_HAZARDS {
            return;
        }
        hazards.sort_unstable_by_key(|hazard| hazard.memory);
        hazards.dedup_by(|next, kept| {
            let same = next.memory == kept.memory;
            if same {
                kept.start = kept.start.min(next.start);
                kept.end = kept.end.max(next.end);
                kept.write |= next.write;
            }
            same
        });
        if hazards.len() > JOB_HAZARDS {
            hazards.clear();
            hazards.push(Hazard::EVERYTHING);
        }
    }
}

fn may_write(buffer: &Buffer) -> Result<(), ErrorCode> {
    match buffer.grant {
        Grant::ReadWrite => Ok(()),
        Grant::ReadOnly => Err(ErrorCode::PermissionDenied),
    }
}

fn hazard(buffer: &Buffer, offset: u64, bytes: u64, write: bool) -> Hazard {
    Hazard {
        memory: buffer.chunk.0,
        start: offset,
        end: offset + bytes,
        write,
    }
}

/// Ranges of one stage that are compared; a longer stage is cut.
const STAGE_HAZARDS: usize = 256;
/// Ranges of one job that the scheduler gets.
const JOB_HAZARDS: usize = 64;
