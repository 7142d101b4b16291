//! Memory at its end: what the last user leaves behind, and who gives it back to the driver and to the host.

use crate::device::Device;
use crate::mapping::Mapping;
use ash::vk;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// What is left of a [`crate::Memory`] that nothing on the device uses any more. Dropping it returns it to the driver,
/// which takes long for much memory: hence [`crate::Memory::leave_to`].
#[derive(Debug)]
pub struct Remains {
    pub(crate) name: u64,
    pub(crate) device: Arc<Device>,
    pub(crate) memory: vk::DeviceMemory,
    pub(crate) buffer: vk::Buffer,
    /// Dropped after `memory` is freed.
    pub(crate) mapping: Option<Mapping>,
}

/// Who gets the remains, and under which name.
#[derive(Debug)]
pub(crate) struct Heir {
    pub(crate) name: u64,
    pub(crate) to: Sender<Remains>,
}

impl Remains {
    /// As the memory was called when it was left to somebody.
    pub fn name(&self) -> u64 {
        self.name
    }

    /// Returns the memory, and the pages of imported memory to the host: whoever maps their file reads zeros there.
    pub fn discard(mut self) {
        let mapping = self.mapping.take();
        // A device that has pinned the pages lets go of them first.
        drop(self);
        if let Some(mapping) = mapping {
            mapping.discard();
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        // SAFETY: the memory it is of was dropped, and a batch in flight holds an Arc of that: no work uses the buffer.
        unsafe { self.device.raw.destroy_buffer(self.buffer, None) };
        // SAFETY: its only buffer was just destroyed; the mapping over imported pages ends after this (field drop).
        unsafe { self.device.raw.free_memory(self.memory, None) };
    }
}
