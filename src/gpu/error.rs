//! What can fail, and which of Vulkan's codes means what for each family of calls.

use ash::vk;
use std::fmt;

/// Why an operation of this crate failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Vulkan loader could not be opened.
    #[error("the Vulkan loader libvulkan.so.1 is missing (Debian package libvulkan1)")]
    LoaderMissing(#[source] ash::LoadingError),
    /// No device, or not the one asked for, can run compute work; `skipped` says what was found.
    #[error(
        "no usable Vulkan device (wanted: {wanted} with Vulkan 1.2, a compute queue and timeline semaphores; \
         Debian package mesa-vulkan-drivers brings the software device lavapipe); skipped: {}", List(.skipped)
    )]
    NoDevice {
        /// Which device was asked for.
        wanted: Wanted,
        /// The devices that were passed over.
        skipped: Vec<Skipped>,
    },
    /// The device is gone with all its queues. Recovery: drop everything that holds the `Device`, open a new one.
    #[error("the Vulkan device was lost")]
    DeviceLost,
    /// Device memory or address space is exhausted.
    #[error("out of device memory")]
    OutOfDeviceMemory,
    /// The driver found no host memory.
    #[error("out of host memory")]
    OutOfHostMemory,
    /// The driver refused to compile a module; the value is the `VkResult`.
    #[error("the driver could not compile the module (VkResult {0})")]
    CompileFailed(i32),
    /// The device or driver lacks something.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// The caller broke a rule of this API or of Vulkan; nothing was done.
    #[error("invalid use: {0}")]
    InvalidUse(&'static str),
    /// The batch is still executing.
    #[error("the batch is still executing")]
    Busy,
    /// A file could not be mapped.
    #[error("the memory file could not be mapped")]
    Mapping(#[source] nix::errno::Errno),
    /// Any other code: the Vulkan call and its `VkResult`.
    #[error("{0} returned VkResult {1}")]
    Driver(&'static str, i32),
}

/// The device that [`crate::Instance::choose`] was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best one.
    Any,
    /// The one with this index.
    Index(usize),
}

/// A device that was passed over, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The device's name.
    pub name: String,
    /// What it lacks.
    pub reason: &'static str,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any device"),
            Self::Index(index) => write!(f, "device {index}"),
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

struct List<'a>(&'a [Skipped]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (place, skipped) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{skipped}")?;
        }
        Ok(())
    }
}

/// vkCreateInstance, vkCreateDevice and the enumerations.
pub(crate) fn open(call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    move |result| match result {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY => Error::OutOfHostMemory,
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => Error::OutOfDeviceMemory,
        vk::Result::ERROR_DEVICE_LOST => Error::DeviceLost,
        // The loader's word for: no driver is installed.
        vk::Result::ERROR_INCOMPATIBLE_DRIVER => Error::NoDevice {
            wanted: Wanted::Any,
            skipped: Vec::new(),
        },
        vk::Result::ERROR_EXTENSION_NOT_PRESENT => Error::Unsupported("a Vulkan extension"),
        vk::Result::ERROR_FEATURE_NOT_PRESENT => Error::Unsupported("a Vulkan feature"),
        vk::Result::ERROR_LAYER_NOT_PRESENT => Error::Unsupported("a Vulkan layer"),
        other => Error::Driver(call, other.as_raw()),
    }
}

/// Small objects (layouts, pools, semaphores, buffers) and the recording of command buffers.
pub(crate) fn object(call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    move |result| match result {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY => Error::OutOfHostMemory,
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => Error::OutOfDeviceMemory,
        other => Error::Driver(call, other.as_raw()),
    }
}

/// vkAllocateMemory, vkMapMemory, imports and exports.
pub(crate) fn memory(call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    move |result| match result {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY => Error::OutOfHostMemory,
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => Error::OutOfDeviceMemory,
        vk::Result::ERROR_TOO_MANY_OBJECTS => Error::Unsupported("so many memory allocations"),
        vk::Result::ERROR_INVALID_EXTERNAL_HANDLE => Error::Unsupported("import of this memory"),
        vk::Result::ERROR_MEMORY_MAP_FAILED => Error::Driver(call, result.as_raw()),
        other => Error::Driver(call, other.as_raw()),
    }
}

/// vkCreateShaderModule, vkCreateComputePipelines.
pub(crate) fn compile(call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    move |result| match result {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY => Error::OutOfHostMemory,
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => Error::OutOfDeviceMemory,
        vk::Result::ERROR_INVALID_SHADER_NV
        | vk::Result::ERROR_UNKNOWN
        | vk::Result::ERROR_INITIALIZATION_FAILED => Error::CompileFailed(result.as_raw()),
        other => Error::Driver(call, other.as_raw()),
    }
}

/// vkQueueSubmit, and every way to ask or wait for completion.
pub(crate) fn completion(call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    move |result| match result {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY => Error::OutOfHostMemory,
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => Error::OutOfDeviceMemory,
        vk::Result::ERROR_DEVICE_LOST => Error::DeviceLost,
        other => Error::Driver(call, other.as_raw()),
    }
}
