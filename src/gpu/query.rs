//! The questions to the driver that fill a `DeviceInfo`.

use crate::error::{self, Error};
use crate::features::{Extensions, Features};
use crate::info::{DeviceInfo, DeviceKind, Limits, Subgroup};
use crate::instance::Instance;
use crate::queue_family;
use ash::vk;
use std::ffi::{CStr, c_char};
use std::sync::Arc;

impl DeviceInfo {
    pub(crate) fn query(
        instance: &Arc<Instance>,
        index: usize,
        physical: vk::PhysicalDevice,
    ) -> Result<Self, Error> {
        let raw = &instance.raw;
        // SAFETY: `physical` was enumerated from this live instance (Instance::devices).
        let base = unsafe { raw.get_physical_device_properties(physical) };
        // SAFETY: as above.
        let memory = unsafe { raw.get_physical_device_memory_properties(physical) };
        // SAFETY: as above.
        let extensions = unsafe { raw.enumerate_device_extension_properties(physical) }
            .map_err(error::open("vkEnumerateDeviceExtensionProperties"))?;

        let version = base.api_version.min(instance.version);
        let modern = version >= vk::API_VERSION_1_2;
        let extensions = Extensions::from_properties(&extensions);
        let features = if modern {
            Features::query(raw, physical, version, &extensions)
        } else {
            Features::default()
        };
        let more = if modern {
            Properties::query(raw, physical, version, &extensions)
        } else {
            Properties::default()
        };
        let families = if modern {
            queue_family::query(raw, physical, &extensions, &features)
        } else {
            Vec::new()
        };
        let main = families.first();
        let (compute_queues, timestamp_bits) =
            main.map_or((0, 0), |family| (family.queues, family.timestamp_bits));
        let unsuitable = if !modern {
            Some("Vulkan older than 1.2")
        } else if families.is_empty() {
            Some("no compute queue")
        } else if !features.timeline_semaphore {
            Some("no timeline semaphores")
        } else {
            None
        };
        let kind = DeviceKind::from(base.device_type);
        let (device_memory_bytes, host_memory_bytes) = heap_bytes(&memory);
        Ok(Self {
            index,
            name: text(&base.device_name),
            kind,
            vendor_id: base.vendor_id,
            device_id: base.device_id,
            driver_name: text(&more.v12.driver_name),
            driver_info: text(&more.v12.driver_info),
            api_version: (
                vk::api_version_major(base.api_version),
                vk::api_version_minor(base.api_version),
                vk::api_version_patch(base.api_version),
            ),
            uuid: more.v11.device_uuid,
            driver_uuid: more.v11.driver_uuid,
            limits: more.limits(&base.limits, timestamp_bits),
            subgroup: more.subgroup(),
            unified_memory: matches!(kind, DeviceKind::Cpu | DeviceKind::Integrated)
                && all_visible(&memory),
            device_memory_bytes,
            host_memory_bytes,
            features,
            extensions,
            compute_queues,
            shader_cores: more.shader_cores(&features),
            unsuitable,
            cache_uuid: base.pipeline_cache_uuid,
            instance: Arc::clone(instance),
            physical,
            memory_types: memory
                .memory_types_as_slice()
                .iter()
                .map(|kind| kind.property_flags.as_raw())
                .collect(),
            families,
            version,
        })
    }
}

#[derive(Default)]
struct Properties {
    v11: vk::PhysicalDeviceVulkan11Properties<'static>,
    v12: vk::PhysicalDeviceVulkan12Properties<'static>,
    v13: vk::PhysicalDeviceVulkan13Properties<'static>,
    host: vk::PhysicalDeviceExternalMemoryHostPropertiesEXT<'static>,
    push: vk::PhysicalDevicePushDescriptorPropertiesKHR<'static>,
    robust: vk::PhysicalDeviceRobustness2PropertiesEXT<'static>,
    scheduling: vk::PhysicalDeviceSchedulingControlsPropertiesARM<'static>,
    cores: vk::PhysicalDeviceShaderCoreBuiltinsPropertiesARM<'static>,
}

impl Properties {
    fn query(
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
        version: u32,
        extensions: &Extensions,
    ) -> Self {
        let mut all = Self::default();
        let mut head = vk::PhysicalDeviceProperties2::default()
            .push_next(&mut all.v11)
            .push_next(&mut all.v12);
        if version >= vk::API_VERSION_1_3 {
            head = head.push_next(&mut all.v13);
        }
        if extensions.external_memory_host {
            head = head.push_next(&mut all.host);
        }
        if extensions.push_descriptor {
            head = head.push_next(&mut all.push);
        }
        if extensions.robustness2 {
            head = head.push_next(&mut all.robust);
        }
        if extensions.scheduling_controls && extensions.shader_core_builtins {
            head = head
                .push_next(&mut all.scheduling)
                .push_next(&mut all.cores);
        }
        // SAFETY: `physical` belongs to `instance` (DeviceInfo::query); the chain is made of live, exclusively borrowed
        // structures of the device's version and extensions.
        unsafe { instance.get_physical_device_properties2(physical, &mut head) };
        all
    }

    fn limits(&self, base: &vk::PhysicalDeviceLimits, timestamp_bits: u32) -> Limits {
        Limits {
            max_groups: base.max_compute_work_group_count,
            max_group_size: base.max_compute_work_group_size,
            max_group_invocations: base.max_compute_work_group_invocations,
            max_shared_bytes: base.max_compute_shared_memory_size,
            max_push_bytes: base.max_push_constants_size,
            storage_alignment: base.min_storage_buffer_offset_alignment.max(1),
            uniform_alignment: base.min_uniform_buffer_offset_alignment.max(1),
            host_import_alignment: self.host.min_imported_host_pointer_alignment,
            max_storage_range: base.max_storage_buffer_range.into(),
            max_uniform_range: base.max_uniform_buffer_range.into(),
            max_storage_buffers: base
                .max_per_stage_descriptor_storage_buffers
                .min(base.max_descriptor_set_storage_buffers),
            max_uniform_buffers: base
                .max_per_stage_descriptor_uniform_buffers
                .min(base.max_descriptor_set_uniform_buffers),
            max_buffers: base.max_per_stage_resources,
            max_push_descriptors: self.push.max_push_descriptors,
            robust_storage_alignment: self.robust.robust_storage_buffer_access_size_alignment,
            robust_uniform_alignment: self.robust.robust_uniform_buffer_access_size_alignment,
            timestamp_period_ns: base.timestamp_period,
            timestamp_bits,
            max_allocations: base.max_memory_allocation_count,
            max_allocation_bytes: self.v11.max_memory_allocation_size,
        }
    }

    /// Shader cores that can be shared out.
    fn shader_cores(&self, features: &Features) -> u32 {
        let flags = self.scheduling.scheduling_controls_flags;
        let counts = vk::PhysicalDeviceSchedulingControlsFlagsARM::SHADER_CORE_COUNT;
        match features.scheduling_controls && flags.contains(counts) {
            true => self.cores.shader_core_count,
            false => 0,
        }
    }

    fn subgroup(&self) -> Subgroup {
        let stages = self.v11.subgroup_supported_stages;
        let in_compute = stages.contains(vk::ShaderStageFlags::COMPUTE);
        Subgroup {
            size: self.v11.subgroup_size,
            min_size: self.v13.min_subgroup_size,
            max_size: self.v13.max_subgroup_size,
            operations: if in_compute {
                self.v11.subgroup_supported_operations.as_raw()
            } else {
                0
            },
        }
    }
}

/// The sums of the device-local and of the other heaps.
fn heap_bytes(memory: &vk::PhysicalDeviceMemoryProperties) -> (u64, u64) {
    let mut sums = (0u64, 0u64);
    for heap in memory.memory_heaps_as_slice() {
        let local = heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL);
        let sum = if local { &mut sums.0 } else { &mut sums.1 };
        *sum = sum.saturating_add(heap.size);
    }
    sums
}

fn all_visible(memory: &vk::PhysicalDeviceMemoryProperties) -> bool {
    (0u32..)
        .zip(memory.memory_heaps_as_slice())
        .all(|(index, heap)| {
            !heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL)
                || memory.memory_types_as_slice().iter().any(|kind| {
                    kind.heap_index == index
                        && kind
                            .property_flags
                            .contains(vk::MemoryPropertyFlags::HOST_VISIBLE)
                })
        })
}

/// A name that the driver wrote into a fixed array.
fn text(array: &[c_char]) -> String {
    let bytes: Vec<u8> = array.iter().map(|c| c.to_ne_bytes()[0]).collect();
    CStr::from_bytes_until_nul(&bytes)
        .map_or_else(|_| String::new(), |s| s.to_string_lossy().into_owned())
}
