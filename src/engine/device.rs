//! The Vulkan device in the words of the protocol and of the gate.

use crate::{GlobalPriority, Options};
use std::sync::Arc;
use vkmps_gpu::{Device, DeviceInfo, DeviceKind, Error, Instance, Queue, Ranking, Slot, SlotKind};
use vkmps_protocol::engine::{self, Ranks};
use vkmps_protocol::message::DeviceDescription;
use vkmps_protocol::program::{BindingKind, Interface};
use vkmps_spirv::{Features, Target};

/// Opens the device asked for, or the best, with this many queues at most.
pub(crate) fn open(asked: &Options, queues: u32) -> Result<(Arc<Device>, Vec<Queue>), Error> {
    let info = Instance::load()?.choose(asked.device)?;
    if info.limits.host_import_alignment == 0 {
        return Err(Error::Unsupported(
            "import of host memory (VK_EXT_external_memory_host), which shared arenas need",
        ));
    }
    let raises = match asked.global_priority {
        GlobalPriority::Off => false,
        GlobalPriority::On => true,
        // NVIDIA's (580) grants every priority, and other processes' work takes as long as before; a second family would
        // only divide the queues.
        GlobalPriority::Auto => info.driver_name != "NVIDIA",
    };
    let ranking = match raises {
        true => Ranking::Raised,
        false => Ranking::Descending,
    };
    Device::open(
        &info,
        &vkmps_gpu::Options {
            queues,
            ranking,
            reserved_cores: asked.reserved_cores,
            ..vkmps_gpu::Options::default()
        },
    )
}

/// How the queues stand to those of other processes.
pub(crate) fn ranks<'a>(device: &Device, queues: impl Iterator<Item = &'a Queue>) -> Ranks {
    let global = queues.map(|queue| match queue.standing().global {
        vkmps_gpu::GlobalPriority::Medium => engine::GlobalPriority::Medium,
        vkmps_gpu::GlobalPriority::High => engine::GlobalPriority::High,
        vkmps_gpu::GlobalPriority::Realtime => engine::GlobalPriority::Realtime,
    });
    Ranks {
        global: global.collect(),
        refusals: device.refusals().to_vec(),
    }
}

/// What clients need to know.
pub(crate) fn description(info: &DeviceInfo, queues: usize) -> DeviceDescription {
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    DeviceDescription {
        name: info.name.clone(),
        driver: format!("{} {}", info.driver_name, info.driver_info),
        uuid: info.uuid,
        unified: info.unified_memory,
        cpu: info.kind == DeviceKind::Cpu,
        max_groups: info.limits.max_groups,
        max_push_bytes: info.limits.max_push_bytes,
        storage_alignment: narrow(info.limits.storage_alignment),
        max_storage_range: info.limits.max_storage_range,
        max_uniform_range: info.limits.max_uniform_range,
        uniform_alignment: narrow(info.limits.uniform_alignment),
        device_memory_bytes: info.device_memory_bytes,
        host_memory_bytes: if info.unified_memory {
            info.device_memory_bytes
        } else {
            info.host_memory_bytes
        },
        queues: u32::try_from(queues).unwrap_or(u32::MAX),
    }
}

/// What modules may ask of the device.
pub(crate) fn target(info: &DeviceInfo) -> Target {
    let has = &info.features;
    // VkSubgroupFeatureFlagBits in the order of the specification.
    let subgroup = |bit: u32| info.subgroup.operations >> bit & 1 == 1;
    Target {
        vulkan_minor: info.api_version.1.clamp(2, 4),
        features: Features {
            int8: has.shader_int8,
            int16: has.shader_int16,
            int64: has.shader_int64,
            float16: has.shader_float16,
            float64: has.shader_float64,
            storage_buffer_8bit: has.storage_buffer_8bit,
            uniform_and_storage_buffer_8bit: has.uniform_buffer_8bit,
            push_constant_8bit: has.push_constant_8bit,
            storage_buffer_16bit: has.storage_buffer_16bit,
            uniform_and_storage_buffer_16bit: has.uniform_buffer_16bit,
            push_constant_16bit: has.push_constant_16bit,
            uniform_buffer_standard_layout: has.uniform_buffer_standard_layout,
            storage_buffer_array_dynamic_indexing: has.storage_buffer_array_indexing,
            uniform_buffer_array_dynamic_indexing: has.uniform_buffer_array_indexing,
            vulkan_memory_model: has.vulkan_memory_model,
            vulkan_memory_model_device_scope: has.vulkan_memory_model_device_scope,
            int64_atomics: has.buffer_int64_atomics && has.shared_int64_atomics,
            float32_atomic_add: has.buffer_float32_atomic_add && has.shared_float32_atomic_add,
            integer_dot_product: has.integer_dot_product,
            subgroup_basic: subgroup(0),
            subgroup_vote: subgroup(1),
            subgroup_arithmetic: subgroup(2),
            subgroup_ballot: subgroup(3),
            subgroup_shuffle: subgroup(4),
            subgroup_shuffle_relative: subgroup(5),
            subgroup_clustered: subgroup(6),
            subgroup_quad: subgroup(7),
            ..Features::default()
        },
        max_push_constant_bytes: info.limits.max_push_bytes,
        max_workgroup_size: info.limits.max_group_size,
        max_workgroup_invocations: info.limits.max_group_invocations,
        max_workgroup_memory_bytes: info.limits.max_shared_bytes,
        scalar_block_layout: has.scalar_block_layout,
        robust_buffer_access2: has.robust_buffer_access2,
        zero_initialize_workgroup_memory: has.zero_initialize_workgroup_memory,
    }
}

/// The layout of set 0 for an interface: a slot per renumbered binding.
pub(crate) fn slots(interface: &Interface) -> Vec<Slot> {
    let count = interface
        .bindings
        .iter()
        .map(|binding| binding.slot as usize + 1)
        .max()
        .unwrap_or(0);
    let mut slots = vec![
        Slot {
            kind: SlotKind::Storage,
            count: 0
        };
        count
    ];
    for binding in &interface.bindings {
        let kind = match binding.kind {
            BindingKind::Storage => SlotKind::Storage,
            BindingKind::Uniform => SlotKind::Uniform,
        };
        slots[binding.slot as usize] = Slot {
            kind,
            count: binding.count,
        };
    }
    slots
}
