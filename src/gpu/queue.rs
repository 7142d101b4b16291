//! Queues: batches go in, timeline values come out.

use crate::batch::Batch;
use crate::device::Device;
use crate::error::{self, Error};
use crate::standing::{Family, Standing};
use crate::timeline::Timeline;
use ash::vk;
use std::array;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

/// One hardware queue, used by one thread at a time. Dropping it waits for its work.
#[derive(Debug)]
pub struct Queue {
    pub(crate) device: Arc<Device>,
    raw: vk::Queue,
    pub(crate) family: u32,
    pub(crate) timestamp_bits: u32,
    standing: Standing,
    timeline: Timeline,
    /// The value of the last submitted batch.
    last: u64,
    /// Of [`Queue::submit_and_wait`]; null until its first use. Never in use between calls.
    fence: vk::Fence,
}

/// How [`Queue::submit_and_wait`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// vkWaitForFences.
    Block,
    /// vkGetFenceStatus in a loop.
    Poll,
}

impl Queue {
    pub(crate) fn new(
        device: &Arc<Device>,
        raw: vk::Queue,
        family: &Family,
        standing: Standing,
    ) -> Result<Self, Error> {
        Ok(Self {
            device: Arc::clone(device),
            raw,
            family: family.index,
            timestamp_bits: family.timestamp_bits,
            standing,
            timeline: Timeline::new(device)?,
            last: 0,
            fence: vk::Fence::null(),
        })
    }

    /// What it was created with.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Submits ended batches in order, in one call of the driver; each has its own timeline value. Returns the last
    /// one's; the others precede it without gaps.
    ///
    /// # Errors
    /// `InvalidUse` for no batch, more than [`MAX_BATCHES_PER_SUBMIT`], or one that is not ended or not for such a
    /// queue; nothing is submitted then.
    pub fn submit(&mut self, batches: &mut [&mut Batch]) -> Result<u64, Error> {
        let count = batches.len();
        if count == 0 || count > MAX_BATCHES_PER_SUBMIT {
            return Err(Error::InvalidUse("the number of batches of a submit"));
        }
        let mut commands = [vk::CommandBuffer::null(); MAX_BATCHES_PER_SUBMIT];
        for (commands, batch) in commands.iter_mut().zip(&*batches) {
            *commands = batch.to_submit(&self.device, self.family)?;
        }
        let first = self.last + 1;
        let values: [u64; MAX_BATCHES_PER_SUBMIT] = array::from_fn(|place| first + place as u64);
        let mut signals: [vk::TimelineSemaphoreSubmitInfo<'_>; MAX_BATCHES_PER_SUBMIT] =
            array::from_fn(|place| {
                vk::TimelineSemaphoreSubmitInfo::default()
                    .signal_semaphore_values(&values[place..=place])
            });
        let semaphore = self.timeline.semaphore();
        let mut submits = [vk::SubmitInfo::default(); MAX_BATCHES_PER_SUBMIT];
        for ((submit, signal), commands) in submits
            .iter_mut()
            .zip(&mut signals)
            .zip(&commands)
            .take(count)
        {
            *submit = vk::SubmitInfo::default()
                .command_buffers(slice::from_ref(commands))
                .signal_semaphores(slice::from_ref(&semaphore))
                .push_next(signal);
        }
        let last = values[count - 1];
        self.timeline.announce(last);
        // SAFETY: `&mut self` excludes other users of the queue; the command buffers are ended, not pending and of this
        // device (to_submit), the values grow, and all that `submits` points to lives through the call.
        let result = unsafe {
            self.device
                .raw
                .queue_submit(self.raw, &submits[..count], vk::Fence::null())
        };
        let result = result.map_err(error::completion("vkQueueSubmit"));
        // After the loss of the device nobody knows whether the work was taken: treat it as such.
        if matches!(result, Ok(()) | Err(Error::DeviceLost)) {
            self.last = last;
            for (batch, value) in batches.iter_mut().zip(values) {
                batch.submitted(&self.timeline, value);
            }
        }
        result.map(|()| last)
    }

    /// Submits one batch with a fence instead of a timeline value and returns when it is complete: the way of an
    /// ordinary Vulkan program, to compare with.
    ///
    /// # Errors
    /// `InvalidUse` if it is not ended; `DeviceLost`.
    pub fn submit_and_wait(&mut self, batch: &mut Batch, wait: Wait) -> Result<(), Error> {
        let commands = [batch.to_submit(&self.device, self.family)?];
        let fence = self.own_fence()?;
        let raw = &self.device.raw;
        let submits = [vk::SubmitInfo::default().command_buffers(&commands)];
        // SAFETY: as in `submit`; the fence is unsignalled and not in use.
        let result = unsafe { raw.queue_submit(self.raw, &submits, fence) }
            .map_err(error::completion("vkQueueSubmit"));
        if matches!(
            result,
            Err(Error::OutOfHostMemory | Error::OutOfDeviceMemory)
        ) {
            // Vulkan says that nothing was taken.
            return result;
        }
        let result = result.and_then(|()| self.wait_fence(fence, wait));
        match &result {
            Ok(()) => {
                batch.completed();
                // SAFETY: the fence was signalled, so it is not in use.
                unsafe { self.device.raw.reset_fences(&[fence]) }
                    .map_err(error::object("vkResetFences"))?;
            }
            Err(Error::DeviceLost) => {
                // A lost device executes nothing any more, but its fence will never be signalled.
                batch.completed();
                self.fence = vk::Fence::null();
                // SAFETY: the device uses nothing any more; the fence is forgotten.
                unsafe { self.device.raw.destroy_fence(fence, None) };
            }
            Err(_) => {
                // Fence and batch may stay in use for ever: leak them.
                batch.abandoned();
                self.fence = vk::Fence::null();
                std::mem::forget(Arc::clone(&self.device));
            }
        }
        result
    }

    /// The value of the last submitted batch; 0 before the first.
    pub fn last_submitted(&self) -> u64 {
        self.last
    }

    /// The last value reached.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn completed(&self) -> Result<u64, Error> {
        self.timeline.completed()
    }

    /// Blocks until the value is reached; false after the timeout.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn wait(&self, value: u64, timeout: Duration) -> Result<bool, Error> {
        self.timeline.wait(value, timeout)
    }

    /// A handle on its completion, for other threads.
    pub fn timeline(&self) -> Timeline {
        self.timeline.clone()
    }

    fn own_fence(&mut self) -> Result<vk::Fence, Error> {
        if self.fence == vk::Fence::null() {
            let create = vk::FenceCreateInfo::default();
            // SAFETY: the device is alive.
            self.fence = unsafe { self.device.raw.create_fence(&create, None) }
                .map_err(error::object("vkCreateFence"))?;
        }
        Ok(self.fence)
    }

    fn wait_fence(&self, fence: vk::Fence, wait: Wait) -> Result<(), Error> {
        let raw = &self.device.raw;
        match wait {
            // SAFETY: device and fence are alive.
            Wait::Block => unsafe { raw.wait_for_fences(&[fence], true, u64::MAX) }
                .map_err(error::completion("vkWaitForFences")),
            Wait::Poll => loop {
                // SAFETY: device and fence are alive.
                let signalled = unsafe { raw.get_fence_status(fence) };
                if signalled.map_err(error::completion("vkGetFenceStatus"))? {
                    return Ok(());
                }
                std::hint::spin_loop();
            },
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // A lost device executes nothing any more; after any other failure nobody knows, so what might be in use is leaked.
        if !matches!(
            self.wait(self.last, Duration::MAX),
            Ok(true) | Err(Error::DeviceLost)
        ) {
            std::mem::forget(self.timeline.clone());
        }
        // SAFETY: no submission uses the fence between calls (submit_and_wait); null is allowed.
        unsafe { self.device.raw.destroy_fence(self.fence, None) };
    }
}

/// The most batches of one [`Queue::submit`].
pub const MAX_BATCHES_PER_SUBMIT: usize = 16;
