//! What is known about a device before it is opened.

use crate::features::{Extensions, Features};
use crate::instance::Instance;
use crate::standing::Family;
use ash::vk;
use std::sync::Arc;

/// A device, its limits and features.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// Its place in the driver's order.
    pub index: usize,
    /// Its name, as the driver says it.
    pub name: String,
    /// What it is made of.
    pub kind: DeviceKind,
    /// The PCI vendor, or a Khronos-assigned number.
    pub vendor_id: u32,
    /// The vendor's number of the device.
    pub device_id: u32,
    /// The driver's name.
    pub driver_name: String,
    /// The driver's version and more, for people.
    pub driver_info: String,
    /// The Vulkan version that the device offers (major, minor, patch).
    pub api_version: (u32, u32, u32),
    /// The device's UUID; the same in every process.
    pub uuid: [u8; 16],
    /// The driver's UUID; memory exported by one driver is imported only by the same.
    pub driver_uuid: [u8; 16],
    /// Its limits.
    pub limits: Limits,
    /// Its subgroups.
    pub subgroup: Subgroup,
    /// All device-local memory is visible to the host, and the device is a CPU or integrated.
    pub unified_memory: bool,
    /// The sum of the device-local heaps.
    pub device_memory_bytes: u64,
    /// The sum of the other heaps.
    pub host_memory_bytes: u64,
    /// Its optional features.
    pub features: Features,
    /// Its extensions.
    pub extensions: Extensions,
    /// How many queues the family has that this crate uses for most work.
    pub compute_queues: u32,
    /// Shader cores that can be shared out among queues; 0: the driver leaves no choice.
    pub shader_cores: u32,
    /// What makes it unusable here, if anything.
    pub unsuitable: Option<&'static str>,
    pub(crate) cache_uuid: [u8; 16],
    pub(crate) instance: Arc<Instance>,
    pub(crate) physical: vk::PhysicalDevice,
    /// The `VkMemoryPropertyFlags` of each memory type.
    pub(crate) memory_types: Vec<u32>,
    /// The one for most work first.
    pub(crate) families: Vec<Family>,
    pub(crate) version: u32,
}

/// What a device is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU of a virtual machine.
    Virtual,
    /// A software device.
    Cpu,
    /// None of these.
    Other,
}

/// A device's limits; alignments and sizes in bytes.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Workgroups per dispatch.
    pub max_groups: [u32; 3],
    /// Invocations per workgroup and dimension.
    pub max_group_size: [u32; 3],
    /// Invocations per workgroup.
    pub max_group_invocations: u32,
    /// Workgroup memory.
    pub max_shared_bytes: u32,
    /// Push constants.
    pub max_push_bytes: u32,
    /// Alignment of a storage binding's offset.
    pub storage_alignment: u64,
    /// Alignment of a uniform binding's offset.
    pub uniform_alignment: u64,
    /// Alignment of address and length of imported host memory; 0 without that extension.
    pub host_import_alignment: u64,
    /// The length of a storage binding.
    pub max_storage_range: u64,
    /// The length of a uniform binding.
    pub max_uniform_range: u64,
    /// Storage buffers per pipeline.
    pub max_storage_buffers: u32,
    /// Uniform buffers per pipeline.
    pub max_uniform_buffers: u32,
    /// Buffers of both kinds per pipeline.
    pub max_buffers: u32,
    /// Descriptors that can be pushed; pipelines with more use descriptor sets.
    pub max_push_descriptors: u32,
    /// A storage binding's range is rounded up to this before accesses are checked (robustBufferAccess2); 0: unknown.
    pub robust_storage_alignment: u64,
    /// A uniform binding's range is rounded up to this before accesses are checked (robustBufferAccess2); 0: unknown.
    pub robust_uniform_alignment: u64,
    /// Nanoseconds per timestamp tick.
    pub timestamp_period_ns: f32,
    /// Valid bits of a timestamp; 0: no timestamps.
    pub timestamp_bits: u32,
    /// Simultaneous memory allocations.
    pub max_allocations: u32,
    /// The length of one allocation.
    pub max_allocation_bytes: u64,
}

/// A device's subgroups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subgroup {
    /// Invocations per subgroup, unless a pipeline asks otherwise.
    pub size: u32,
    /// The least size that can be asked for; 0: unknown.
    pub min_size: u32,
    /// The greatest size that can be asked for; 0: unknown.
    pub max_size: u32,
    /// `VkSubgroupFeatureFlags` available in compute shaders.
    pub operations: u32,
}

impl From<vk::PhysicalDeviceType> for DeviceKind {
    fn from(kind: vk::PhysicalDeviceType) -> Self {
        match kind {
            vk::PhysicalDeviceType::DISCRETE_GPU => Self::Discrete,
            vk::PhysicalDeviceType::INTEGRATED_GPU => Self::Integrated,
            vk::PhysicalDeviceType::VIRTUAL_GPU => Self::Virtual,
            vk::PhysicalDeviceType::CPU => Self::Cpu,
            _ => Self::Other,
        }
    }
}
