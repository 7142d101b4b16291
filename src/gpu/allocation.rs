//! The ways to come by memory: imported from a memfd, allocated, or adopted from an earlier process.

use crate::device::{Device, Export};
use crate::error::{self, Error};
use crate::mapping::Mapping;
use crate::memory::{Kind, Memory, OPAQUE_FD, USAGE, Whole};
use ash::vk;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

impl Memory {
    /// Maps `len` bytes at `offset` of a memfd sealed against shrinking, and gives them to the device without a copy.
    /// Both numbers are multiples of `Limits::host_import_alignment` and of a page. The fd may be closed afterwards.
    ///
    /// # Errors
    /// `InvalidUse` for seals, size or alignment; `Unsupported` if the device can not import this memory.
    pub fn import(
        device: &Arc<Device>,
        fd: BorrowedFd<'_>,
        offset: u64,
        len: u64,
    ) -> Result<Arc<Self>, Error> {
        let host = device
            .host
            .as_ref()
            .ok_or(Error::Unsupported("import of host memory"))?;
        let alignment = device.info.limits.host_import_alignment;
        let (mapping, origin) = Mapping::of_sealed(fd, offset, len, alignment)?;
        let address = mapping.address().as_ptr();
        let mut new = Self::with_buffer(device, len, HOST_POINTER)?;
        new.mapping = Some(mapping);
        new.origin = Some(origin);

        let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
        // SAFETY: the pointer is the start of a live mapping of `len` bytes, owned by `new`; the structure lives on.
        let result = unsafe {
            (host.fp().get_memory_host_pointer_properties_ext)(
                device.raw.handle(),
                HOST_POINTER,
                address,
                &raw mut properties,
            )
        };
        result
            .result()
            .map_err(error::memory("vkGetMemoryHostPointerPropertiesEXT"))?;
        let needs = new.requirements();
        let bits = needs.memory_type_bits & properties.memory_type_bits;
        let kind = device
            .memory_type(bits, COHERENT)
            .ok_or(Error::Unsupported("coherent import of host memory"))?;
        if needs.size > len {
            return Err(Error::Unsupported("import of host memory without padding"));
        }
        let mut import = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(HOST_POINTER)
            .host_pointer(address);
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(len)
            .memory_type_index(kind)
            .push_next(&mut import);
        new.bind(&allocate, "vkAllocateMemory (host pointer)")
    }

    /// Allocates memory of the device.
    ///
    /// # Errors
    /// `InvalidUse` for a length of zero, else what the driver reports.
    pub fn allocate(device: &Arc<Device>, len: u64, kind: Kind) -> Result<Arc<Self>, Error> {
        match kind {
            Kind::DeviceLocal => Self::allocate_local(device, len, device.export.as_ref()),
            Kind::Block => {
                // Memory that is dedicated to a buffer takes no other one.
                let export = device.export.as_ref().filter(|how| !how.dedicated);
                Self::allocate_local(device, len, export)
            }
            Kind::Near => Self::allocate_visible(device, len, NEAR),
            Kind::HostVisible => Self::allocate_visible(device, len, CACHED),
        }
    }

    /// Takes up memory that [`Memory::export`] gave away, in this or another process that uses the same driver and
    /// device. `len` is the length it was allocated with.
    ///
    /// # Errors
    /// `Unsupported` if the driver does not know the fd; the fd then stays open.
    pub fn adopt(device: &Arc<Device>, fd: OwnedFd, len: u64) -> Result<Arc<Self>, Error> {
        let export = device
            .export
            .as_ref()
            .ok_or(Error::Unsupported("export of device memory"))?;
        let mut new = Self::with_buffer(device, len, OPAQUE_FD)?;
        new.exportable = true;
        let needs = new.requirements();
        let kind = local_type(device, needs.memory_type_bits)?;
        // A failed import leaves the fd to us, says Vulkan, but Mesa 22.3 closes it (seen on lavapipe). Closing it again
        // could hit another thread's new fd, so it is leaked then; to change when Debian 12's Mesa is no longer served.
        let fd = fd.into_raw_fd();
        let mut import = vk::ImportMemoryFdInfoKHR::default()
            .handle_type(OPAQUE_FD)
            .fd(fd);
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(new.buffer);
        let mut allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(kind)
            .push_next(&mut import);
        if export.dedicated {
            allocate = allocate.push_next(&mut dedicated);
        }
        let new = new.allocate_with(&allocate, "vkAllocateMemory (opaque fd)")?;
        new.bind_buffer()
    }

    /// A buffer of its own over `len` bytes at `offset` of a [`Kind::Block`], so that no access beyond its end finds what
    /// lies beside it. `token` is dropped when nothing uses the part any more.
    ///
    /// # Errors
    /// `InvalidUse` for a range that is not inside or not aligned; what the driver reports.
    pub fn part(
        block: &Arc<Self>,
        offset: u64,
        len: u64,
        token: Box<dyn Send + Sync>,
    ) -> Result<Arc<Self>, Error> {
        let handles = match block.exportable {
            true => OPAQUE_FD,
            false => vk::ExternalMemoryHandleTypeFlags::empty(),
        };
        // Until it is bound, its end is that of a buffer without memory.
        let mut new = Self::with_buffer(&block.device, len, handles)?;
        let needs = new.requirements();
        if !offset.is_multiple_of(needs.alignment) || !block.holds(offset, needs.size) {
            return Err(Error::InvalidUse("the range of a part"));
        }
        // SAFETY: the block is alive and stays so with the part; the range is inside and aligned (checked above), and its
        // type suits every buffer of this usage: the block's own one has the same.
        unsafe {
            let raw = &block.device.raw;
            raw.bind_buffer_memory(new.buffer, block.memory, offset)
        }
        .map_err(error::object("vkBindBufferMemory"))?;
        new.base = offset;
        new.memory = block.memory;
        new.whole = Some(Whole {
            _memory: Arc::clone(block),
            _token: token,
        });
        Ok(Arc::new(new))
    }

    fn allocate_local(
        device: &Arc<Device>,
        len: u64,
        export: Option<&Export>,
    ) -> Result<Arc<Self>, Error> {
        let handles = match export {
            Some(_) => OPAQUE_FD,
            None => vk::ExternalMemoryHandleTypeFlags::empty(),
        };
        let mut new = Self::with_buffer(device, len, handles)?;
        new.exportable = export.is_some();
        let needs = new.requirements();
        let kind = local_type(device, needs.memory_type_bits)?;
        let mut exported = vk::ExportMemoryAllocateInfo::default().handle_types(handles);
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(new.buffer);
        let mut allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(kind);
        if let Some(how) = export {
            allocate = allocate.push_next(&mut exported);
            if how.dedicated {
                allocate = allocate.push_next(&mut dedicated);
            }
        }
        new.bind(&allocate, "vkAllocateMemory")
    }

    fn allocate_visible(
        device: &Arc<Device>,
        len: u64,
        wanted: vk::MemoryPropertyFlags,
    ) -> Result<Arc<Self>, Error> {
        let new = Self::with_buffer(device, len, vk::ExternalMemoryHandleTypeFlags::empty())?;
        let needs = new.requirements();
        let kind = device
            .memory_type(needs.memory_type_bits, COHERENT | wanted)
            .or_else(|| device.memory_type(needs.memory_type_bits, COHERENT | CACHED))
            .or_else(|| device.memory_type(needs.memory_type_bits, COHERENT))
            .ok_or(Error::Unsupported("coherent host-visible memory"))?;
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(kind);
        let mut new = new.allocate_with(&allocate, "vkAllocateMemory")?;
        let size = usize::try_from(len).map_err(|_| Error::OutOfHostMemory)?;
        // SAFETY: the memory is alive, host visible (its type was chosen so), `len` long at least and not yet mapped.
        let address = unsafe {
            device
                .raw
                .map_memory(new.memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty())
        }
        .map_err(error::memory("vkMapMemory"))?;
        let address =
            NonNull::new(address).ok_or(Error::Unsupported("a mapping at address zero"))?;
        // SAFETY: `len` bytes there stay mapped until vkFreeMemory in Drop, where nobody reads any more.
        new.mapping = Some(unsafe { Mapping::of_vulkan(address, size) });
        new.bind_buffer()
    }

    /// The buffer, still without memory. From here on Drop cleans up whatever step fails.
    fn with_buffer(
        device: &Arc<Device>,
        len: u64,
        handles: vk::ExternalMemoryHandleTypeFlags,
    ) -> Result<Self, Error> {
        if len == 0 || len > device.info.limits.max_allocation_bytes {
            return Err(Error::InvalidUse("the length of a memory allocation"));
        }
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(handles);
        let mut create = vk::BufferCreateInfo::default()
            .size(len)
            .usage(USAGE)
            .sharing_mode(vk::SharingMode::EXCLUSIVE);
        if device.families.len() > 1 {
            create = create
                .sharing_mode(vk::SharingMode::CONCURRENT)
                .queue_family_indices(&device.families);
        }
        if !handles.is_empty() {
            create = create.push_next(&mut external);
        }
        // SAFETY: the device is alive, and `create` with its chain lives through the call.
        let buffer = unsafe { device.raw.create_buffer(&create, None) }
            .map_err(error::object("vkCreateBuffer"))?;
        Ok(Self {
            device: Arc::clone(device),
            memory: vk::DeviceMemory::null(),
            buffer,
            len,
            exportable: false,
            origin: None,
            mapping: None,
            base: 0,
            whole: None,
            heir: OnceLock::new(),
        })
    }

    fn requirements(&self) -> vk::MemoryRequirements {
        // SAFETY: the buffer is alive: only Drop destroys it.
        unsafe { self.device.raw.get_buffer_memory_requirements(self.buffer) }
    }

    fn bind(
        self,
        allocate: &vk::MemoryAllocateInfo<'_>,
        call: &'static str,
    ) -> Result<Arc<Self>, Error> {
        self.allocate_with(allocate, call)?.bind_buffer()
    }

    fn allocate_with(
        mut self,
        allocate: &vk::MemoryAllocateInfo<'_>,
        call: &'static str,
    ) -> Result<Self, Error> {
        // SAFETY: the callers above fill size and type from the buffer's requirements, and what an import names (the
        // mapping in `self`, or a valid fd) is alive.
        self.memory = unsafe { self.device.raw.allocate_memory(allocate, None) }
            .map_err(error::memory(call))?;
        Ok(self)
    }

    fn bind_buffer(self) -> Result<Arc<Self>, Error> {
        // SAFETY: both are alive and unbound, the memory is of a type and size that the buffer's requirements allow.
        unsafe {
            self.device
                .raw
                .bind_buffer_memory(self.buffer, self.memory, 0)
        }
        .map_err(error::object("vkBindBufferMemory"))?;
        Ok(Arc::new(self))
    }
}

fn local_type(device: &Device, bits: u32) -> Result<u32, Error> {
    let local = device.memory_type(bits, vk::MemoryPropertyFlags::DEVICE_LOCAL);
    local.ok_or(Error::Unsupported("device-local memory for buffers"))
}

const CACHED: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::HOST_CACHED;
const NEAR: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::DEVICE_LOCAL;
const COHERENT: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::from_raw(
    vk::MemoryPropertyFlags::HOST_VISIBLE.as_raw()
        | vk::MemoryPropertyFlags::HOST_COHERENT.as_raw(),
);
const HOST_POINTER: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;
