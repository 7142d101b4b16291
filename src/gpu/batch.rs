//! A command buffer's life: begun, recorded, ended, submitted, completed, begun again.

use crate::descriptors::DescriptorPools;
use crate::desk::Desk;
use crate::device::Device;
use crate::error::{self, Error};
use crate::memory::Memory;
use crate::pipeline::Pipeline;
use crate::queue::Queue;
use crate::timeline::Timeline;
use ash::vk;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One command buffer that is recorded anew for each use. Commands are in `record.rs`.
///
/// Everything recorded is held until [`Batch::begin`] or [`Batch::release`] after completion. Dropping a batch in
/// flight waits for it.
pub struct Batch {
    pub(crate) device: Arc<Device>,
    pub(crate) commands: vk::CommandBuffer,
    pub(crate) sets: DescriptorPools,
    pub(crate) memories: Vec<Arc<Memory>>,
    pub(crate) pipelines: Vec<Arc<Pipeline>>,
    /// Scratch of [`Batch::dispatch`], kept to save its allocation.
    pub(crate) infos: Vec<vk::DescriptorBufferInfo>,
    pub(crate) desk: Desk,
    pool: vk::CommandPool,
    queries: vk::QueryPool,
    /// Of the queues that it can be submitted to.
    family: u32,
    timestamp_bits: u32,
    /// What the next recording does, and what the last one did.
    timing: Timing,
    timed: bool,
    state: State,
}

/// Whether a batch measures its time on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// No.
    Off,
    /// Yes, where the device has timestamps.
    On,
}

#[derive(Debug)]
enum State {
    /// Nothing recorded.
    Empty,
    /// Between begin and end.
    Recording,
    /// Ended, to be submitted once.
    Ready,
    /// Submitted; complete when the timeline has reached the value.
    Pending(Timeline, u64),
    /// Known to be complete.
    Complete,
    /// Submitted, and the wait failed: nobody can tell when it is complete, so its objects are leaked.
    Abandoned,
}

impl Batch {
    /// An empty batch for the queues of a device that has one family of them.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn new(device: &Arc<Device>, timing: Timing) -> Result<Self, Error> {
        let main = device.info.families.first();
        let main = main.ok_or(Error::InvalidUse("this device has no queue"))?;
        Self::of_family(device, (main.index, main.timestamp_bits), timing)
    }

    /// An empty batch for this queue and those of its family.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn for_queue(queue: &Queue, timing: Timing) -> Result<Self, Error> {
        let family = (queue.family, queue.timestamp_bits);
        Self::of_family(&queue.device, family, timing)
    }

    fn of_family(
        device: &Arc<Device>,
        (family, timestamp_bits): (u32, u32),
        timing: Timing,
    ) -> Result<Self, Error> {
        let mut new = Self {
            device: Arc::clone(device),
            commands: vk::CommandBuffer::null(),
            sets: DescriptorPools::new(device),
            memories: Vec::new(),
            pipelines: Vec::new(),
            infos: Vec::new(),
            desk: Desk::default(),
            pool: vk::CommandPool::null(),
            queries: vk::QueryPool::null(),
            family,
            timestamp_bits,
            timing,
            timed: false,
            state: State::Empty,
        };
        new.create(timing)?;
        Ok(new)
    }

    /// Whether recordings that begin from now on measure their time; only of a batch that was made with [`Timing::On`].
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// Starts recording, and forgets what was recorded before. All earlier writes of the queue are visible to it.
    ///
    /// # Errors
    /// `Busy` if it is still executing.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.release()?;
        let raw = &self.device.raw;
        let flags = vk::CommandPoolResetFlags::empty();
        // SAFETY: no command buffer of the pool is pending (`release`); `&mut self` excludes others.
        unsafe { raw.reset_command_pool(self.pool, flags) }
            .map_err(error::object("vkResetCommandPool"))?;
        // SAFETY: as above.
        unsafe { self.sets.reset() }?;
        self.desk.clear();
        let info = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the pool was just reset, so the command buffer is initial and not in use; `&mut self` excludes others.
        unsafe { raw.begin_command_buffer(self.commands, &info) }
            .map_err(error::object("vkBeginCommandBuffer"))?;
        self.state = State::Recording;
        self.memory_barrier(
            (
                vk::PipelineStageFlags::ALL_COMMANDS,
                vk::AccessFlags::MEMORY_WRITE,
            ),
            (WORK_STAGES, WORK_READS | WORK_WRITES),
        );
        self.timed = self.timing == Timing::On && self.queries != vk::QueryPool::null();
        if self.timed {
            // SAFETY: the pool has these queries, it is not in use, and the command buffer is recording.
            unsafe {
                self.device
                    .raw
                    .cmd_reset_query_pool(self.commands, self.queries, 0, QUERIES)
            };
            self.timestamp(0);
        }
        Ok(())
    }

    /// Ends recording; makes all writes available to the host.
    ///
    /// # Errors
    /// `InvalidUse` if it is not recording; what the driver found wrong while recording.
    pub fn end(&mut self) -> Result<(), Error> {
        self.check_recording()?;
        if self.timed {
            self.timestamp(1);
        }
        self.memory_barrier(
            (WORK_STAGES, WORK_WRITES),
            (vk::PipelineStageFlags::HOST, vk::AccessFlags::HOST_READ),
        );
        self.state = State::Empty;
        // SAFETY: the command buffer is recording (checked above).
        unsafe { self.device.raw.end_command_buffer(self.commands) }
            .map_err(error::object("vkEndCommandBuffer"))?;
        self.state = State::Ready;
        Ok(())
    }

    /// Lets go of everything recorded, without beginning anew.
    ///
    /// # Errors
    /// `Busy` if it is still executing.
    pub fn release(&mut self) -> Result<(), Error> {
        if !self.is_complete()? {
            return Err(Error::Busy);
        }
        self.state = State::Empty;
        self.memories.clear();
        self.pipelines.clear();
        Ok(())
    }

    /// Whether the GPU does not use it: never submitted, or complete.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn is_complete(&mut self) -> Result<bool, Error> {
        match &self.state {
            State::Pending(timeline, value) => {
                if !timeline.has_reached(*value)? {
                    return Ok(false);
                }
                self.state = State::Complete;
                Ok(true)
            }
            State::Abandoned => Ok(false),
            State::Empty | State::Recording | State::Ready | State::Complete => Ok(true),
        }
    }

    /// The device time from the end of all earlier work of the queue to the end of this batch; `None` before completion,
    /// after a new begin, and without timestamps or [`Timing::On`].
    pub fn device_ns(&mut self) -> Option<u64> {
        if !self.timed || !self.is_complete().ok()? || !matches!(self.state, State::Complete) {
            return None;
        }
        let mut ticks = [0u64; QUERIES as usize];
        // SAFETY: the pool has these queries, the batch that wrote them is complete, and `ticks` holds their results.
        unsafe {
            self.device.raw.get_query_pool_results(
                self.queries,
                0,
                &mut ticks,
                vk::QueryResultFlags::TYPE_64,
            )
        }
        .ok()?;
        let limits = &self.device.info.limits;
        let mask = u64::MAX >> 64u32.saturating_sub(self.timestamp_bits);
        Some(nanoseconds(
            ticks[1].wrapping_sub(ticks[0]) & mask,
            limits.timestamp_period_ns,
        ))
    }

    pub(crate) fn check_recording(&self) -> Result<(), Error> {
        match self.state {
            State::Recording => Ok(()),
            _ => Err(Error::InvalidUse("the batch is not recording")),
        }
    }

    /// The command buffer, if it may be submitted on a queue of this device and family.
    pub(crate) fn to_submit(
        &self,
        device: &Arc<Device>,
        family: u32,
    ) -> Result<vk::CommandBuffer, Error> {
        if !Arc::ptr_eq(&self.device, device) {
            return Err(Error::InvalidUse("the batch is of another device"));
        }
        if self.family != family {
            return Err(Error::InvalidUse("the batch is for other queues"));
        }
        match self.state {
            State::Ready => Ok(self.commands),
            _ => Err(Error::InvalidUse(
                "the batch is not ended, or already submitted",
            )),
        }
    }

    pub(crate) fn submitted(&mut self, timeline: &Timeline, value: u64) {
        self.state = State::Pending(timeline.clone(), value);
    }

    pub(crate) fn completed(&mut self) {
        self.state = State::Complete;
    }

    pub(crate) fn abandoned(&mut self) {
        self.state = State::Abandoned;
    }

    pub(crate) fn memory_barrier(
        &mut self,
        (from, written): (vk::PipelineStageFlags, vk::AccessFlags),
        (to, used): (vk::PipelineStageFlags, vk::AccessFlags),
    ) {
        let barrier = [vk::MemoryBarrier::default()
            .src_access_mask(written)
            .dst_access_mask(used)];
        let flags = vk::DependencyFlags::empty();
        // SAFETY: the callers checked that the command buffer is recording; stages and accesses are constants that agree.
        unsafe {
            self.device
                .raw
                .cmd_pipeline_barrier(self.commands, from, to, flags, &barrier, &[], &[])
        };
    }

    fn timestamp(&mut self, query: u32) {
        let stage = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
        // SAFETY: the command buffer is recording (both callers), the query exists and was reset in `begin`.
        unsafe {
            self.device
                .raw
                .cmd_write_timestamp(self.commands, stage, self.queries, query)
        };
    }

    fn create(&mut self, timing: Timing) -> Result<(), Error> {
        let raw = &self.device.raw;
        let create = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(self.family);
        // SAFETY: the device is alive and has queues of this family.
        self.pool = unsafe { raw.create_command_pool(&create, None) }
            .map_err(error::object("vkCreateCommandPool"))?;
        let allocate = vk::CommandBufferAllocateInfo::default()
            .command_pool(self.pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: the pool was just created.
        let commands = unsafe { raw.allocate_command_buffers(&allocate) }
            .map_err(error::object("vkAllocateCommandBuffers"))?;
        self.commands = commands.first().copied().unwrap_or_default();
        if timing == Timing::On && self.timestamp_bits > 0 {
            let create = vk::QueryPoolCreateInfo::default()
                .query_type(vk::QueryType::TIMESTAMP)
                .query_count(QUERIES);
            // SAFETY: the device is alive and its family has timestamps.
            self.queries = unsafe { raw.create_query_pool(&create, None) }
                .map_err(error::object("vkCreateQueryPool"))?;
        }
        Ok(())
    }

    /// Waits until the GPU does not use the batch; false if that can not be known.
    fn settle(&self) -> bool {
        match &self.state {
            // A lost device executes nothing any more.
            State::Pending(timeline, value) => {
                matches!(
                    timeline.wait(*value, Duration::MAX),
                    Ok(true) | Err(Error::DeviceLost)
                )
            }
            State::Abandoned => false,
            State::Empty | State::Recording | State::Ready | State::Complete => true,
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.settle() {
            // What might be in use is leaked with everything it depends on.
            std::mem::forget(Arc::clone(&self.device));
            std::mem::forget(std::mem::take(&mut self.memories));
            std::mem::forget(std::mem::take(&mut self.pipelines));
            std::mem::forget(std::mem::take(&mut self.desk));
            return;
        }
        let raw = &self.device.raw;
        // SAFETY: the GPU does not use the batch (settle).
        unsafe { self.sets.destroy() };
        // SAFETY: as above.
        unsafe { self.desk.destroy(&self.device) };
        // SAFETY: as above; null is allowed.
        unsafe { raw.destroy_query_pool(self.queries, None) };
        // SAFETY: as above; this frees the command buffer too.
        unsafe { raw.destroy_command_pool(self.pool, None) };
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn nanoseconds(ticks: u64, period_ns: f32) -> u64 {
    let nanoseconds = Duration::from_nanos(ticks)
        .mul_f64(f64::from(period_ns))
        .as_nanos();
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

const QUERIES: u32 = 2;
pub(crate) const WORK_STAGES: vk::PipelineStageFlags = vk::PipelineStageFlags::from_raw(
    vk::PipelineStageFlags::COMPUTE_SHADER.as_raw() | vk::PipelineStageFlags::TRANSFER.as_raw(),
);
pub(crate) const WORK_READS: vk::AccessFlags = vk::AccessFlags::from_raw(
    vk::AccessFlags::SHADER_READ.as_raw()
        | vk::AccessFlags::UNIFORM_READ.as_raw()
        | vk::AccessFlags::TRANSFER_READ.as_raw(),
);
pub(crate) const WORK_WRITES: vk::AccessFlags = vk::AccessFlags::from_raw(
    vk::AccessFlags::SHADER_WRITE.as_raw() | vk::AccessFlags::TRANSFER_WRITE.as_raw(),
);
