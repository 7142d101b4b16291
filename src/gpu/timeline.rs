//! Completion: one timeline semaphore per queue, to be asked or waited for from any thread.

use crate::device::Device;
use crate::error::{self, Error};
use ash::vk;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The completion of one queue's work: values grow, one per submitted batch. Clones are the same timeline.
#[derive(Clone, Debug)]
pub struct Timeline {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: Arc<Device>,
    semaphore: vk::Semaphore,
    /// The greatest value seen; saves asking the driver.
    seen: AtomicU64,
    /// The greatest value ever submitted. A driver may report any greater one after the loss of the device.
    submitted: AtomicU64,
}

impl Timeline {
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self, Error> {
        let mut kind =
            vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let create = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the device is alive, with the feature timelineSemaphore; `create` and its chain live through the call.
        let semaphore = unsafe { device.raw.create_semaphore(&create, None) }
            .map_err(error::object("vkCreateSemaphore"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                device: Arc::clone(device),
                semaphore,
                seen: AtomicU64::new(0),
                submitted: AtomicU64::new(0),
            }),
        })
    }

    /// The last value reached.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn completed(&self) -> Result<u64, Error> {
        let inner = &*self.inner;
        // SAFETY: device and semaphore are alive; the call needs no synchronisation.
        let value = unsafe {
            inner
                .device
                .raw
                .get_semaphore_counter_value(inner.semaphore)
        }
        .map_err(error::completion("vkGetSemaphoreCounterValue"))?;
        if value > inner.submitted.load(Ordering::Acquire) {
            return Err(Error::DeviceLost);
        }
        inner.seen.fetch_max(value, Ordering::AcqRel);
        Ok(value)
    }

    /// Whether the value is reached; asks the driver only if that is not known.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn has_reached(&self, value: u64) -> Result<bool, Error> {
        Ok(self.inner.seen.load(Ordering::Acquire) >= value || self.completed()? >= value)
    }

    /// Blocks until the value is reached; false after the timeout.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn wait(&self, value: u64, timeout: Duration) -> Result<bool, Error> {
        if self.inner.seen.load(Ordering::Acquire) >= value {
            return Ok(true);
        }
        let (semaphores, values) = ([self.inner.semaphore], [value]);
        let info = vk::SemaphoreWaitInfo::default()
            .semaphores(&semaphores)
            .values(&values);
        wait(&self.inner.device, &info, timeout)
    }

    pub(crate) fn semaphore(&self) -> vk::Semaphore {
        self.inner.semaphore
    }

    /// Announces values up to this one; called before they are submitted.
    pub(crate) fn announce(&self, value: u64) {
        self.inner.submitted.fetch_max(value, Ordering::AcqRel);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the Queue that signals it waited for all its work before it let go (Queue::drop), waits borrow it.
        unsafe { self.device.raw.destroy_semaphore(self.semaphore, None) };
    }
}

/// Blocks until one of the timelines has reached its value; false after the timeout, and for an empty list.
///
/// # Errors
/// `DeviceLost`; `InvalidUse` for a timeline of another device.
pub fn wait_any(
    device: &Arc<Device>,
    points: &[(&Timeline, u64)],
    timeout: Duration,
) -> Result<bool, Error> {
    if points
        .iter()
        .any(|(timeline, _)| !Arc::ptr_eq(&timeline.inner.device, device))
    {
        return Err(Error::InvalidUse("a timeline is of another device"));
    }
    if points.is_empty() {
        return Ok(false);
    }
    let semaphores: Vec<_> = points
        .iter()
        .map(|(timeline, _)| timeline.semaphore())
        .collect();
    let values: Vec<_> = points.iter().map(|(_, value)| *value).collect();
    let info = vk::SemaphoreWaitInfo::default()
        .flags(vk::SemaphoreWaitFlags::ANY)
        .semaphores(&semaphores)
        .values(&values);
    wait(device, &info, timeout)
}

fn wait(
    device: &Device,
    info: &vk::SemaphoreWaitInfo<'_>,
    timeout: Duration,
) -> Result<bool, Error> {
    let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the callers borrow the timelines, so their semaphores live through the call; all are of this device.
    match unsafe { device.raw.wait_semaphores(info, timeout_ns) } {
        Ok(()) => Ok(true),
        Err(vk::Result::TIMEOUT) => Ok(false),
        Err(result) => Err(error::completion("vkWaitSemaphores")(result)),
    }
}
