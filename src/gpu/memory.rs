//! Memory of the device, each with one buffer over its whole length.

use crate::device::Device;
use crate::error::{self, Error};
use crate::mapping::{Mapping, Origin};
use crate::remains::{Heir, Remains};
use ash::vk;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

/// Memory and the buffer over it. Its contents are undefined at first, unless it is imported.
#[derive(Debug)]
pub struct Memory {
    pub(crate) device: Arc<Device>,
    pub(crate) memory: vk::DeviceMemory,
    pub(crate) buffer: vk::Buffer,
    pub(crate) len: u64,
    pub(crate) exportable: bool,
    pub(crate) origin: Option<Origin>,
    pub(crate) mapping: Option<Mapping>,
    /// Where the buffer begins in the device's memory.
    pub(crate) base: u64,
    /// Whose memory the buffer is bound to, if it is a part, and what is dropped with it.
    pub(crate) whole: Option<Whole>,
    /// Whoever drops the last Arc pays for its end unless there is one.
    pub(crate) heir: OnceLock<Heir>,
}

/// What a part belongs to.
pub(crate) struct Whole {
    pub(crate) _memory: Arc<Memory>,
    pub(crate) _token: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Whole").field(&self._memory).finish()
    }
}

/// Where allocated memory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the device, and exportable where [`Device::exports`].
    DeviceLocal,
    /// With the device; [`Memory::part`] works, and it is exportable where that allows it.
    Block,
    /// As [`Kind::HostVisible`], but the device's own where the host can reach that: quick for the device to read, slow
    /// for the host.
    Near,
    /// Mapped for [`Memory::read`] and [`Memory::write`], coherent, cached if possible.
    HostVisible,
}

impl Memory {
    /// A file descriptor of device-local memory: it keeps the contents alive beyond this process.
    ///
    /// # Errors
    /// `Unsupported` for other memory or a device that does not export.
    pub fn export(&self) -> Result<OwnedFd, Error> {
        let export = self.device.export.as_ref().filter(|_| self.exportable);
        let export = export.ok_or(Error::Unsupported("export of this memory"))?;
        let info = vk::MemoryGetFdInfoKHR::default()
            .memory(self.memory)
            .handle_type(OPAQUE_FD);
        // SAFETY: the memory is alive and was allocated for export as this handle type (`exportable`).
        let fd = unsafe { export.calls.get_memory_fd(&info) }
            .map_err(error::memory("vkGetMemoryFdKHR"))?;
        // SAFETY: a successful call returns a new descriptor that belongs to the caller.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Leaves what remains of it, when nothing uses it any more, to a receiver that has the time. Works once.
    pub fn leave_to(&self, name: u64, to: Sender<Remains>) {
        let _ = self.heir.set(Heir { name, to });
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Always false: memory of no length can not be made.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether [`Memory::read`] and [`Memory::write`] work.
    pub fn is_visible(&self) -> bool {
        self.mapping.is_some()
    }

    /// Copies bytes out of host-visible or imported memory. What the GPU wrote is seen once its batch is complete.
    ///
    /// # Errors
    /// `InvalidUse` if the range is not inside or the memory not visible.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let mapping = self.mapping.as_ref().ok_or(NOT_VISIBLE)?;
        mapping.read(offset, bytes).ok_or(OUTSIDE)
    }

    /// Copies bytes into host-visible or imported memory. A batch submitted afterwards sees them.
    ///
    /// # Errors
    /// `InvalidUse` if the range is not inside or the memory not visible.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mapping = self.mapping.as_ref().ok_or(NOT_VISIBLE)?;
        mapping.write(offset, bytes).ok_or(OUTSIDE)
    }

    pub(crate) fn is_of(&self, device: &Arc<Device>) -> bool {
        Arc::ptr_eq(&self.device, device)
    }

    /// Whether `len` bytes at `offset` lie inside.
    pub(crate) fn holds(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Whether two ranges of equal length share bytes: of the same memory, or of imports of one file.
    pub(crate) fn overlaps(&self, offset: u64, other: &Self, other_offset: u64, len: u64) -> bool {
        let apart = match (&self.origin, &other.origin) {
            _ if self.memory == other.memory => {
                Some(i128::from(other.base) - i128::from(self.base))
            }
            (Some(mine), Some(theirs)) => mine.distance(theirs),
            _ => None,
        };
        apart.is_some_and(|apart| {
            let distance = apart + i128::from(other_offset) - i128::from(offset);
            distance.unsigned_abs() < u128::from(len)
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(whole) = self.whole.take() {
            // SAFETY: a batch in flight holds an Arc of this memory, so no work uses the buffer.
            unsafe { self.device.raw.destroy_buffer(self.buffer, None) };
            drop(whole);
            return;
        }
        let heir = self.heir.take();
        let remains = Remains {
            name: heir.as_ref().map_or(0, |heir| heir.name),
            device: Arc::clone(&self.device),
            memory: self.memory,
            buffer: self.buffer,
            mapping: self.mapping.take(),
        };
        match heir {
            // An heir that is gone returns them: they end here.
            Some(heir) => drop(heir.to.send(remains)),
            None => drop(remains),
        }
    }
}

/// What every buffer may be used for.
pub(crate) const USAGE: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
    vk::BufferUsageFlags::STORAGE_BUFFER.as_raw()
        | vk::BufferUsageFlags::UNIFORM_BUFFER.as_raw()
        | vk::BufferUsageFlags::INDIRECT_BUFFER.as_raw()
        | vk::BufferUsageFlags::TRANSFER_SRC.as_raw()
        | vk::BufferUsageFlags::TRANSFER_DST.as_raw(),
);
pub(crate) const OPAQUE_FD: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;
const NOT_VISIBLE: Error = Error::InvalidUse("this memory is not visible to the host");
const OUTSIDE: Error = Error::InvalidUse("the range is not inside the memory");
