//! Optional features and extensions: each is listed once, and from that list queried, recorded and enabled.

use ash::vk;
use std::ffi::CStr;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident: $part:ident.$field:ident;)*) => {
        /// Which optional features a device has; all of them are enabled, so that shaders may use them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Features { $($(#[$doc])* pub $name: bool,)* }

        impl Features {
            fn from_chain(chain: &Chain) -> Self {
                Self { $($name: chain.$part.$field == vk::TRUE,)* }
            }

            /// The structures that enable exactly these features.
            pub(crate) fn to_chain(self) -> Chain {
                let mut chain = Chain::default();
                $(chain.$part.$field = u32::from(self.$name);)*
                chain
            }
        }
    };
}

features! {
    /// Out-of-range buffer accesses stay inside the bound memory.
    robust_buffer_access: core.robust_buffer_access;
    /// Out-of-range buffer accesses read zero and write nothing.
    robust_buffer_access2: robustness2.robust_buffer_access2;
    /// 64-bit floats.
    shader_float64: core.shader_float64;
    /// 16-bit float arithmetic.
    shader_float16: v12.shader_float16;
    /// 64-bit integers.
    shader_int64: core.shader_int64;
    /// 16-bit integers.
    shader_int16: core.shader_int16;
    /// 8-bit integer arithmetic.
    shader_int8: v12.shader_int8;
    /// 16-bit types in storage buffers.
    storage_buffer_16bit: v11.storage_buffer16_bit_access;
    /// 16-bit types in uniform buffers.
    uniform_buffer_16bit: v11.uniform_and_storage_buffer16_bit_access;
    /// 16-bit types in push constants.
    push_constant_16bit: v11.storage_push_constant16;
    /// 8-bit types in storage buffers.
    storage_buffer_8bit: v12.storage_buffer8_bit_access;
    /// 8-bit types in uniform buffers.
    uniform_buffer_8bit: v12.uniform_and_storage_buffer8_bit_access;
    /// 8-bit types in push constants.
    push_constant_8bit: v12.storage_push_constant8;
    /// 64-bit atomics on buffers.
    buffer_int64_atomics: v12.shader_buffer_int64_atomics;
    /// 64-bit atomics on workgroup memory.
    shared_int64_atomics: v12.shader_shared_int64_atomics;
    /// Atomic 32-bit float load, store and exchange on buffers.
    buffer_float32_atomics: atomic_float.shader_buffer_float32_atomics;
    /// Atomic 32-bit float addition on buffers.
    buffer_float32_atomic_add: atomic_float.shader_buffer_float32_atomic_add;
    /// Atomic 32-bit float addition on workgroup memory.
    shared_float32_atomic_add: atomic_float.shader_shared_float32_atomic_add;
    /// Scalar block layout.
    scalar_block_layout: v12.scalar_block_layout;
    /// Uniform buffers in the standard layout.
    uniform_buffer_standard_layout: v12.uniform_buffer_standard_layout;
    /// Workgroup memory with explicit layout.
    workgroup_memory_explicit_layout: workgroup_layout.workgroup_memory_explicit_layout;
    /// Arrays of storage buffers indexed dynamically.
    storage_buffer_array_indexing: core.shader_storage_buffer_array_dynamic_indexing;
    /// Arrays of uniform buffers indexed dynamically.
    uniform_buffer_array_indexing: core.shader_uniform_buffer_array_dynamic_indexing;
    /// Arrays of storage buffers indexed differently within a subgroup.
    storage_buffer_array_nonuniform: v12.shader_storage_buffer_array_non_uniform_indexing;
    /// Subgroup operations on 8, 16 and 64-bit types.
    subgroup_extended_types: v12.shader_subgroup_extended_types;
    /// A required subgroup size per pipeline.
    subgroup_size_control: v13.subgroup_size_control;
    /// Subgroups without inactive invocations.
    compute_full_subgroups: v13.compute_full_subgroups;
    /// The Vulkan memory model.
    vulkan_memory_model: v12.vulkan_memory_model;
    /// Device scope in the Vulkan memory model.
    vulkan_memory_model_device_scope: v12.vulkan_memory_model_device_scope;
    /// Availability and visibility chains in the Vulkan memory model.
    vulkan_memory_model_chains: v12.vulkan_memory_model_availability_visibility_chains;
    /// Integer dot products.
    integer_dot_product: v13.shader_integer_dot_product;
    /// Workgroup memory may have a zero initialiser.
    zero_initialize_workgroup_memory: v13.shader_zero_initialize_workgroup_memory;
    /// Workgroup sizes from specialization constants by id, and looser interface rules.
    maintenance4: v13.maintenance4;
    /// Cooperative matrices.
    cooperative_matrix: cooperative_matrix.cooperative_matrix;
    /// The global priorities of each queue family are known.
    global_priority_query: global_priority.global_priority_query;
    /// Queues can be kept to some of the shader cores.
    scheduling_controls: scheduling.scheduling_controls;
    /// Timeline semaphores; without them a device is not suitable.
    timeline_semaphore: v12.timeline_semaphore;
}

impl Features {
    pub(crate) fn query(
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
        version: u32,
        extensions: &Extensions,
    ) -> Self {
        let mut chain = Chain::default();
        let mut head = chain.link(version, extensions);
        // SAFETY: `physical` belongs to `instance` (both come from DeviceInfo::query) and the chain is made of live,
        // exclusively borrowed structures that the device's version and extensions know (Chain::link).
        unsafe { instance.get_physical_device_features2(physical, &mut head) };
        let core = head.features;
        chain.core = core;
        Self::from_chain(&chain)
    }

    /// The same features without the promise about out-of-range accesses.
    pub(crate) fn without_robustness(self) -> Self {
        Self {
            robust_buffer_access: false,
            robust_buffer_access2: false,
            ..self
        }
    }
}

macro_rules! extensions {
    ($($(#[$doc:meta])* $name:ident: $id:path;)*) => {
        /// Which of the device extensions that this crate knows a device has.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Extensions { $($(#[$doc])* pub $name: bool,)* }

        impl Extensions {
            pub(crate) fn from_properties(properties: &[vk::ExtensionProperties]) -> Self {
                let has = |id: &CStr| properties.iter().any(|p| p.extension_name_as_c_str() == Ok(id));
                Self { $($name: has($id),)* }
            }

            /// The names of those present; all of them are enabled.
            pub fn names(&self) -> Vec<&'static CStr> {
                [$((self.$name, $id),)*].into_iter().filter_map(|(has, id)| has.then_some(id)).collect()
            }
        }
    };
}

extensions! {
    /// Descriptors recorded in the command buffer, without sets.
    push_descriptor: ash::khr::push_descriptor::NAME;
    /// Import of host memory by its address.
    external_memory_host: ash::ext::external_memory_host::NAME;
    /// Export and import of device memory as a file descriptor.
    external_memory_fd: ash::khr::external_memory_fd::NAME;
    /// Exact robustness.
    robustness2: ash::ext::robustness2::NAME;
    /// Queue priorities across processes.
    global_priority: ash::khr::global_priority::NAME;
    /// The same, by its older name.
    global_priority_ext: ash::ext::global_priority::NAME;
    /// Which priorities a queue family has; part of the newer extension.
    global_priority_query: ash::ext::global_priority_query::NAME;
    /// Shader cores per queue.
    scheduling_controls: ash::arm::scheduling_controls::NAME;
    /// The number of shader cores.
    shader_core_builtins: ash::arm::shader_core_builtins::NAME;
    /// Free memory per heap.
    memory_budget: ash::ext::memory_budget::NAME;
    /// Float atomics.
    shader_atomic_float: ash::ext::shader_atomic_float::NAME;
    /// Cooperative matrices.
    cooperative_matrix: ash::khr::cooperative_matrix::NAME;
    /// Explicit layout of workgroup memory.
    workgroup_memory_explicit_layout: ash::khr::workgroup_memory_explicit_layout::NAME;
}

impl Extensions {
    /// Whether queues can have global priorities.
    pub(crate) fn has_global_priority(&self) -> bool {
        self.global_priority || self.global_priority_ext
    }

    /// Whether a driver that has them says which a family has.
    fn has_global_priority_query(&self) -> bool {
        self.global_priority || self.global_priority_query
    }
}

/// The feature structures, for the query and for the creation of a device.
#[derive(Default)]
pub(crate) struct Chain {
    core: vk::PhysicalDeviceFeatures,
    v11: vk::PhysicalDeviceVulkan11Features<'static>,
    v12: vk::PhysicalDeviceVulkan12Features<'static>,
    v13: vk::PhysicalDeviceVulkan13Features<'static>,
    robustness2: vk::PhysicalDeviceRobustness2FeaturesEXT<'static>,
    atomic_float: vk::PhysicalDeviceShaderAtomicFloatFeaturesEXT<'static>,
    cooperative_matrix: vk::PhysicalDeviceCooperativeMatrixFeaturesKHR<'static>,
    workgroup_layout: vk::PhysicalDeviceWorkgroupMemoryExplicitLayoutFeaturesKHR<'static>,
    global_priority: vk::PhysicalDeviceGlobalPriorityQueryFeaturesKHR<'static>,
    scheduling: vk::PhysicalDeviceSchedulingControlsFeaturesARM<'static>,
}

impl Chain {
    /// Links those structures that a device of this version with these extensions knows.
    pub(crate) fn link(
        &mut self,
        version: u32,
        extensions: &Extensions,
    ) -> vk::PhysicalDeviceFeatures2<'_> {
        let mut head = vk::PhysicalDeviceFeatures2::default()
            .features(self.core)
            .push_next(&mut self.v11)
            .push_next(&mut self.v12);
        if version >= vk::API_VERSION_1_3 {
            head = head.push_next(&mut self.v13);
        }
        if extensions.robustness2 {
            head = head.push_next(&mut self.robustness2);
        }
        if extensions.shader_atomic_float {
            head = head.push_next(&mut self.atomic_float);
        }
        if extensions.cooperative_matrix {
            head = head.push_next(&mut self.cooperative_matrix);
        }
        if extensions.workgroup_memory_explicit_layout {
            head = head.push_next(&mut self.workgroup_layout);
        }
        if extensions.has_global_priority_query() {
            head = head.push_next(&mut self.global_priority);
        }
        if extensions.scheduling_controls {
            head = head.push_next(&mut self.scheduling);
        }
        head
    }
}
