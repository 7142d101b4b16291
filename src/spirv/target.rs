//! The device a module is prepared for.

/// Limits and features of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Minor number of the Vulkan 1.x version in use: 2, 3 or 4.
    pub vulkan_minor: u32,
    /// What was enabled at device creation.
    pub features: Features,
    /// `maxPushConstantsSize`, less what the daemon keeps for itself.
    pub max_push_constant_bytes: u32,
    /// `maxComputeWorkGroupSize`.
    pub max_workgroup_size: [u32; 3],
    /// `maxComputeWorkGroupInvocations`.
    pub max_workgroup_invocations: u32,
    /// `maxComputeSharedMemorySize`.
    pub max_workgroup_memory_bytes: u32,
    /// `scalarBlockLayout`.
    pub scalar_block_layout: bool,
    /// `robustBufferAccess2`; without it indices into buffers are clamped.
    pub robust_buffer_access2: bool,
    /// `shaderZeroInitializeWorkgroupMemory`; without it a loop clears workgroup memory.
    pub zero_initialize_workgroup_memory: bool,
}

/// Optional features, by the capability they unlock; all off by default.
///
/// A field may be set only if the device reports the feature *and* it was enabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are Vulkan's feature names, one per capability; see gate.rs"
)]
pub struct Features {
    pub int8: bool,
    pub int16: bool,
    pub int64: bool,
    pub float16: bool,
    pub float64: bool,
    pub storage_buffer_8bit: bool,
    pub uniform_and_storage_buffer_8bit: bool,
    pub push_constant_8bit: bool,
    pub storage_buffer_16bit: bool,
    pub uniform_and_storage_buffer_16bit: bool,
    pub push_constant_16bit: bool,
    pub uniform_buffer_standard_layout: bool,
    pub storage_buffer_array_dynamic_indexing: bool,
    pub uniform_buffer_array_dynamic_indexing: bool,
    pub vulkan_memory_model: bool,
    pub vulkan_memory_model_device_scope: bool,
    pub int64_atomics: bool,
    pub float16_atomic_add: bool,
    pub float32_atomic_add: bool,
    pub float64_atomic_add: bool,
    pub float16_atomic_min_max: bool,
    pub float32_atomic_min_max: bool,
    pub float64_atomic_min_max: bool,
    pub integer_dot_product: bool,
    pub subgroup_basic: bool,
    pub subgroup_vote: bool,
    pub subgroup_arithmetic: bool,
    pub subgroup_ballot: bool,
    pub subgroup_shuffle: bool,
    pub subgroup_shuffle_relative: bool,
    pub subgroup_clustered: bool,
    pub subgroup_quad: bool,
    pub subgroup_rotate: bool,
    /// Set only where the device has it for every float width it supports; the same for the four below.
    pub denorm_preserve: bool,
    pub denorm_flush_to_zero: bool,
    pub signed_zero_inf_nan_preserve: bool,
    pub rounding_mode_rte: bool,
    pub rounding_mode_rtz: bool,
}
