//! The commands of a batch: checked, then recorded.

use crate::batch::{Batch, WORK_READS, WORK_STAGES, WORK_WRITES};
use crate::desk::{Block, Word};
use crate::error::Error;
use crate::info::Limits;
use crate::memory::Memory;
use crate::pipeline::{Pipeline, SlotKind};
use ash::vk;
use std::sync::Arc;

/// A range of memory for one descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    /// The binding's number in set 0.
    pub slot: u32,
    /// The element of the binding's array.
    pub element: u32,
    /// What is bound.
    pub memory: &'a Arc<Memory>,
    /// Its first byte, aligned as the limits say for the slot's kind.
    pub offset: u64,
    /// Its length in bytes.
    pub range: u64,
}

/// The part of a grid that one dispatch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first workgroup.
    pub base: [u32; 3],
    /// Its workgroups.
    pub groups: [u32; 3],
    /// The workgroups of the whole grid, which is what shaders see as their number.
    pub whole: [u32; 3],
    /// The budget of loop iterations, on the desk of the same batch.
    pub word: Word,
}

impl Batch {
    /// Runs `groups` workgroups, numbered from `base`. It may run concurrently with all since the last barrier.
    ///
    /// # Errors
    /// As [`Batch::dispatch_part`].
    pub fn dispatch(
        &mut self,
        pipeline: &Arc<Pipeline>,
        bindings: &[Bind<'_>],
        push: &[u8],
        base: [u32; 3],
        groups: [u32; 3],
    ) -> Result<(), Error> {
        let part = Part {
            base,
            groups,
            whole: groups,
            word: Word::COMMON,
        };
        self.dispatch_part(pipeline, bindings, push, part)
    }

    /// Runs a part of a grid. The parts of one grid may run in any order, also concurrently, as its workgroups may.
    ///
    /// # Errors
    /// `InvalidUse` unless each descriptor is bound exactly once, inside its memory and aligned, the push constants have
    /// the pipeline's length and the workgroups are within the limits.
    pub fn dispatch_part(
        &mut self,
        pipeline: &Arc<Pipeline>,
        bindings: &[Bind<'_>],
        push: &[u8],
        part: Part,
    ) -> Result<(), Error> {
        let Part {
            base,
            groups,
            whole,
            word,
        } = part;
        self.check_recording()?;
        if !Arc::ptr_eq(&pipeline.device, &self.device) {
            return Err(OTHER_DEVICE);
        }
        if push.len() != pipeline.push_bytes as usize {
            return Err(Error::InvalidUse("the length of the push constants"));
        }
        check_groups(&self.device.info.limits, base, groups)?;
        self.gather(pipeline, bindings)?;
        // Before the commands, so that whatever is recorded is held.
        for bind in bindings {
            self.hold(bind.memory);
        }
        self.bind_pipeline(pipeline);
        self.bind_descriptors(pipeline)?;
        if pipeline.desk {
            let groups = whole;
            let (set, offset) = self.desk.write(&self.device, Block { groups, word })?;
            let point = vk::PipelineBindPoint::COMPUTE;
            let layout = pipeline.layout;
            // SAFETY: recording; the set has the layout's set 1 and is the batch's, the offset is in its buffer.
            unsafe {
                self.device.raw.cmd_bind_descriptor_sets(
                    self.commands,
                    point,
                    layout,
                    1,
                    &[set],
                    &[offset],
                );
            }
        }
        let (raw, commands) = (&self.device.raw, self.commands);
        if !push.is_empty() {
            let stage = vk::ShaderStageFlags::COMPUTE;
            // SAFETY: recording; the layout's range is exactly `push` (checked above), a multiple of 4.
            unsafe { raw.cmd_push_constants(commands, pipeline.layout, stage, 0, push) };
        }
        if base == [0; 3] {
            // SAFETY: recording; a pipeline with all its descriptors and constants is bound, the groups are in the limits.
            unsafe { raw.cmd_dispatch(commands, groups[0], groups[1], groups[2]) };
        } else {
            let ([x, y, z], [w, h, d]) = (base, groups);
            // SAFETY: as above; every pipeline is created with DISPATCH_BASE.
            unsafe { raw.cmd_dispatch_base(commands, x, y, z, w, h, d) };
        }
        Ok(())
    }

    /// Copies `len` bytes.
    ///
    /// # Errors
    /// `InvalidUse` for an empty or outside range, or ranges that overlap.
    pub fn copy(
        &mut self,
        src: &Arc<Memory>,
        src_offset: u64,
        dst: &Arc<Memory>,
        dst_offset: u64,
        len: u64,
    ) -> Result<(), Error> {
        self.check_recording()?;
        self.check_range(src, src_offset, len)?;
        self.check_range(dst, dst_offset, len)?;
        if src.overlaps(src_offset, dst, dst_offset, len) {
            return Err(Error::InvalidUse(
                "source and destination of a copy overlap",
            ));
        }
        self.hold(src);
        self.hold(dst);
        let region = [vk::BufferCopy::default()
            .src_offset(src_offset)
            .dst_offset(dst_offset)
            .size(len)];
        // SAFETY: recording; both buffers are of this device, held, large enough, and the ranges apart (checked above).
        unsafe {
            self.device
                .raw
                .cmd_copy_buffer(self.commands, src.buffer, dst.buffer, &region)
        };
        Ok(())
    }

    /// Fills `len` bytes with a word; offset and length are multiples of 4.
    ///
    /// # Errors
    /// `InvalidUse` for an empty, outside or unaligned range.
    pub fn fill(
        &mut self,
        dst: &Arc<Memory>,
        offset: u64,
        len: u64,
        word: u32,
    ) -> Result<(), Error> {
        self.check_recording()?;
        self.check_range(dst, offset, len)?;
        check_words(offset, len)?;
        self.hold(dst);
        // SAFETY: recording; the buffer is of this device, held, and the range inside and aligned (checked above).
        unsafe {
            self.device
                .raw
                .cmd_fill_buffer(self.commands, dst.buffer, offset, len, word)
        };
        Ok(())
    }

    /// Writes up to 65 536 bytes that travel in the command buffer; offset and length are multiples of 4.
    ///
    /// # Errors
    /// `InvalidUse` for an empty, outside, unaligned or too long range.
    pub fn update(&mut self, dst: &Arc<Memory>, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.check_recording()?;
        if bytes.len() > MAX_UPDATE_BYTES {
            return Err(Error::InvalidUse("an update of more than 65 536 bytes"));
        }
        let len = bytes.len() as u64;
        self.check_range(dst, offset, len)?;
        check_words(offset, len)?;
        self.hold(dst);
        // SAFETY: recording; the buffer is of this device, held, and the range inside, aligned and short (checked above).
        unsafe {
            self.device
                .raw
                .cmd_update_buffer(self.commands, dst.buffer, offset, bytes)
        };
        Ok(())
    }

    /// What follows starts after all before it, and sees its writes.
    ///
    /// # Errors
    /// `InvalidUse` if the batch is not recording.
    pub fn barrier(&mut self) -> Result<(), Error> {
        self.check_recording()?;
        self.memory_barrier(
            (WORK_STAGES, WORK_WRITES),
            (WORK_STAGES, WORK_READS | WORK_WRITES),
        );
        Ok(())
    }

    /// Puts the bindings in descriptor order into `infos`.
    fn gather(&mut self, pipeline: &Pipeline, bindings: &[Bind<'_>]) -> Result<(), Error> {
        let total = pipeline.descriptors() as usize;
        if bindings.len() != total {
            return Err(Error::InvalidUse(
                "a descriptor is not bound, or bound twice",
            ));
        }
        self.infos.clear();
        self.infos
            .resize(total, vk::DescriptorBufferInfo::default());
        for bind in bindings {
            let (Some(slot), Some(first)) = (
                pipeline.slots.get(bind.slot as usize),
                pipeline.firsts.get(bind.slot as usize),
            ) else {
                return Err(Error::InvalidUse("the pipeline has no such slot"));
            };
            if bind.element >= slot.count {
                return Err(Error::InvalidUse("the slot has no such element"));
            }
            if !bind.memory.is_of(&self.device) {
                return Err(OTHER_DEVICE);
            }
            check_binding(&self.device.info.limits, slot.kind, bind)?;
            let info = &mut self.infos[(first + bind.element) as usize];
            if info.buffer != vk::Buffer::null() {
                return Err(Error::InvalidUse(
                    "a descriptor is not bound, or bound twice",
                ));
            }
            *info = vk::DescriptorBufferInfo {
                buffer: bind.memory.buffer,
                offset: bind.offset,
                range: bind.range,
            };
        }
        Ok(())
    }

    fn bind_pipeline(&mut self, pipeline: &Arc<Pipeline>) {
        if self
            .pipelines
            .last()
            .is_some_and(|bound| Arc::ptr_eq(bound, pipeline))
        {
            return;
        }
        self.pipelines.push(Arc::clone(pipeline));
        let point = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: recording (checked by `dispatch`); the pipeline is of this device and now held.
        unsafe {
            self.device
                .raw
                .cmd_bind_pipeline(self.commands, point, pipeline.raw)
        };
    }

    /// Binds what `gather` collected.
    fn bind_descriptors(&mut self, pipeline: &Pipeline) -> Result<(), Error> {
        if self.infos.is_empty() {
            return Ok(());
        }
        let data = self.infos.as_ptr().cast();
        let (layout, template) = (pipeline.layout, pipeline.template);
        if let Some(push) = self.device.push.as_ref().filter(|_| pipeline.pushed) {
            // SAFETY: recording; `data` holds the info of every descriptor that the template reads (gather checked it).
            unsafe {
                push.cmd_push_descriptor_set_with_template(self.commands, template, layout, 0, data)
            };
            return Ok(());
        }
        let set = self.sets.allocate(pipeline)?;
        let raw = &self.device.raw;
        // SAFETY: the set is new, so unused; `data` as above.
        unsafe { raw.update_descriptor_set_with_template(set, template, data) };
        let point = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: recording; the set has the layout's set 0 and lives until this batch is reset.
        unsafe { raw.cmd_bind_descriptor_sets(self.commands, point, layout, 0, &[set], &[]) };
        Ok(())
    }

    fn check_range(&self, memory: &Memory, offset: u64, len: u64) -> Result<(), Error> {
        if !memory.is_of(&self.device) {
            return Err(OTHER_DEVICE);
        }
        if len == 0 || !memory.holds(offset, len) {
            return Err(Error::InvalidUse(
                "a range is empty or not inside its memory",
            ));
        }
        Ok(())
    }

    /// Keeps the memory alive; neighbours in a batch often use the same.
    fn hold(&mut self, memory: &Arc<Memory>) {
        if !self
            .memories
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, memory))
        {
            self.memories.push(Arc::clone(memory));
        }
    }
}

fn check_groups(limits: &Limits, base: [u32; 3], groups: [u32; 3]) -> Result<(), Error> {
    for ((base, groups), max) in base.into_iter().zip(groups).zip(limits.max_groups) {
        if base >= max || groups > max - base {
            return Err(Error::InvalidUse("too many workgroups"));
        }
    }
    Ok(())
}

fn check_binding(limits: &Limits, kind: SlotKind, bind: &Bind<'_>) -> Result<(), Error> {
    let (alignment, max_range) = match kind {
        SlotKind::Storage => (limits.storage_alignment, limits.max_storage_range),
        SlotKind::Uniform => (limits.uniform_alignment, limits.max_uniform_range),
    };
    if bind.range == 0 || bind.range > max_range || !bind.memory.holds(bind.offset, bind.range) {
        return Err(Error::InvalidUse(
            "a binding is empty, too long or not inside its memory",
        ));
    }
    // Vulkan's alignments are powers of two.
    if bind.offset & (alignment - 1) != 0 {
        return Err(Error::InvalidUse("the offset of a binding is not aligned"));
    }
    Ok(())
}

fn check_words(offset: u64, len: u64) -> Result<(), Error> {
    if (offset | len) & 3 != 0 {
        return Err(Error::InvalidUse("offset or length is not a multiple of 4"));
    }
    Ok(())
}

/// The limit of vkCmdUpdateBuffer.
const MAX_UPDATE_BYTES: usize = 65_536;
const OTHER_DEVICE: Error = Error::InvalidUse("an object is of another device");
