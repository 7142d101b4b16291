//! The allow-list: what is not named here is refused.
//!
//! The validator ties instructions, types and built-ins to capabilities, so the list of capabilities carries most
//! of the weight; the rest closes what plain `Shader` would still permit.

use crate::decorations::Decorations;
use crate::parse::Parsed;
use crate::refusal::Refusal;
use crate::target::{Features, Target};
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{
    AddressingModel, BuiltIn, Capability, Decoration, ExecutionMode, MemoryModel, Op, StorageClass,
};

/// What the module declares for all its entry points.
pub(crate) fn check_declarations(parsed: &Parsed, target: &Target) -> Result<(), Refusal> {
    let module = &parsed.module;
    for instruction in &module.capabilities {
        if let Some(Operand::Capability(capability)) = instruction.operands.first() {
            check_capability(*capability, &target.features)?;
        }
    }
    for instruction in &module.extensions {
        if let Some(Operand::LiteralString(name)) = instruction.operands.first()
            && !EXTENSIONS.contains(&name.as_str())
        {
            return Err(Refusal::Extension { name: name.clone() });
        }
    }
    for instruction in &module.ext_inst_imports {
        if let Some(Operand::LiteralString(name)) = instruction.operands.first()
            && name != "GLSL.std.450"
        {
            return Err(Refusal::InstructionSet { name: name.clone() });
        }
    }
    match module
        .memory_model
        .as_ref()
        .map(|model| model.operands.as_slice())
    {
        // The validator asks for the capability of the Vulkan model, which is checked above.
        Some(
            [
                Operand::AddressingModel(AddressingModel::Logical),
                Operand::MemoryModel(MemoryModel::GLSL450 | MemoryModel::Vulkan),
            ],
        ) => Ok(()),
        _ => Err(Refusal::MemoryModel),
    }
}

/// What is left after selection: modes, variables and types of the one entry point.
pub(crate) fn check_contents(module: &Module) -> Result<(), Refusal> {
    for instruction in &module.execution_modes {
        if let Some(Operand::ExecutionMode(mode)) = instruction.operands.get(1)
            && !MODES.contains(mode)
        {
            return Err(Refusal::ExecutionMode { mode: *mode });
        }
    }
    for annotation in &module.annotations {
        if !matches!(
            annotation.class.opcode,
            Op::Decorate | Op::MemberDecorate | Op::DecorateId
        ) {
            return refuse(
                annotation,
                "decoration groups are deprecated; decorate each id",
            );
        }
    }
    let decorations = Decorations::of(module);
    for value in &module.types_global_values {
        match (value.class.opcode, value.operands.first()) {
            (Op::Variable, Some(Operand::StorageClass(class))) => {
                check_variable(value.result_id.unwrap_or_default(), *class, &decorations)?;
            }
            (Op::TypeImage | Op::TypeSampler | Op::TypeSampledImage, _) => {
                return refuse(value, "there are no images or samplers here; use buffers");
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse(instruction: &Instruction, reason: &'static str) -> Result<(), Refusal> {
    let target = instruction.operands.first().and_then(Operand::id_ref_any);
    let id = instruction.result_id.or(target).unwrap_or_default();
    Err(Refusal::Instruction {
        opcode: instruction.class.opcode,
        id,
        reason,
    })
}

fn check_variable(id: u32, class: StorageClass, decorations: &Decorations) -> Result<(), Refusal> {
    match class {
        StorageClass::StorageBuffer
        | StorageClass::Uniform
        | StorageClass::PushConstant
        | StorageClass::Workgroup
        | StorageClass::Private => Ok(()),
        StorageClass::Input => match decorations.value(id, Decoration::BuiltIn) {
            Some(built_in) if INPUTS.iter().any(|&allowed| allowed as u32 == built_in) => Ok(()),
            _ => Err(Refusal::Input { id }),
        },
        _ => Err(Refusal::StorageClass { id, class }),
    }
}

fn check_capability(capability: Capability, features: &Features) -> Result<(), Refusal> {
    let (feature, present) = match capability {
        // The base of every Vulkan compute module.
        Capability::Matrix | Capability::Shader => return Ok(()),
        // The choice of a buffer is clamped to those that are bound.
        Capability::StorageBufferArrayDynamicIndexing => (
            "shaderStorageBufferArrayDynamicIndexing",
            features.storage_buffer_array_dynamic_indexing,
        ),
        Capability::UniformBufferArrayDynamicIndexing => (
            "shaderUniformBufferArrayDynamicIndexing",
            features.uniform_buffer_array_dynamic_indexing,
        ),
        // Arithmetic on other widths: no reach beyond the invocation.
        Capability::Int8 => ("shaderInt8", features.int8),
        Capability::Int16 => ("shaderInt16", features.int16),
        Capability::Int64 => ("shaderInt64", features.int64),
        Capability::Float16 => ("shaderFloat16", features.float16),
        Capability::Float64 => ("shaderFloat64", features.float64),
        // Narrow members of buffers, bounded by robust buffer access as wide ones are.
        Capability::StorageBuffer8BitAccess => {
            ("storageBuffer8BitAccess", features.storage_buffer_8bit)
        }
        Capability::UniformAndStorageBuffer8BitAccess => (
            "uniformAndStorageBuffer8BitAccess",
            features.uniform_and_storage_buffer_8bit,
        ),
        Capability::StoragePushConstant8 => ("storagePushConstant8", features.push_constant_8bit),
        Capability::StorageBuffer16BitAccess => {
            ("storageBuffer16BitAccess", features.storage_buffer_16bit)
        }
        Capability::UniformAndStorageBuffer16BitAccess => (
            "uniformAndStorageBuffer16BitAccess",
            features.uniform_and_storage_buffer_16bit,
        ),
        Capability::StoragePushConstant16 => {
            ("storagePushConstant16", features.push_constant_16bit)
        }
        // Ordering of memory operations on the client's own buffers.
        Capability::VulkanMemoryModel => ("vulkanMemoryModel", features.vulkan_memory_model),
        Capability::VulkanMemoryModelDeviceScope => (
            "vulkanMemoryModelDeviceScope",
            features.vulkan_memory_model_device_scope,
        ),
        // Atomics on other types, in the same places as the 32-bit integer ones.
        Capability::Int64Atomics => ("shaderBufferInt64Atomics", features.int64_atomics),
        Capability::AtomicFloat16AddEXT => {
            ("shaderBufferFloat16AtomicAdd", features.float16_atomic_add)
        }
        Capability::AtomicFloat32AddEXT => {
            ("shaderBufferFloat32AtomicAdd", features.float32_atomic_add)
        }
        Capability::AtomicFloat64AddEXT => {
            ("shaderBufferFloat64AtomicAdd", features.float64_atomic_add)
        }
        Capability::AtomicFloat16MinMaxEXT => (
            "shaderBufferFloat16AtomicMinMax",
            features.float16_atomic_min_max,
        ),
        Capability::AtomicFloat32MinMaxEXT => (
            "shaderBufferFloat32AtomicMinMax",
            features.float32_atomic_min_max,
        ),
        Capability::AtomicFloat64MinMaxEXT => (
            "shaderBufferFloat64AtomicMinMax",
            features.float64_atomic_min_max,
        ),
        // Pure arithmetic.
        Capability::DotProduct
        | Capability::DotProductInputAll
        | Capability::DotProductInput4x8Bit
        | Capability::DotProductInput4x8BitPacked => {
            ("shaderIntegerDotProduct", features.integer_dot_product)
        }
        // Subgroups lie within a workgroup, and a workgroup within one client's dispatch.
        Capability::GroupNonUniform => ("subgroup basic operations", features.subgroup_basic),
        Capability::GroupNonUniformVote => ("subgroup vote operations", features.subgroup_vote),
        Capability::GroupNonUniformArithmetic => (
            "subgroup arithmetic operations",
            features.subgroup_arithmetic,
        ),
        Capability::GroupNonUniformBallot => {
            ("subgroup ballot operations", features.subgroup_ballot)
        }
        Capability::GroupNonUniformShuffle => {
            ("subgroup shuffle operations", features.subgroup_shuffle)
        }
        Capability::GroupNonUniformShuffleRelative => (
            "subgroup relative shuffle operations",
            features.subgroup_shuffle_relative,
        ),
        Capability::GroupNonUniformClustered => {
            ("subgroup clustered operations", features.subgroup_clustered)
        }
        Capability::GroupNonUniformQuad => ("subgroup quad operations", features.subgroup_quad),
        Capability::GroupNonUniformRotateKHR => ("shaderSubgroupRotate", features.subgroup_rotate),
        // Rounding and special values: no reach beyond the invocation.
        Capability::DenormPreserve => ("shaderDenormPreserve", features.denorm_preserve),
        Capability::DenormFlushToZero => ("shaderDenormFlushToZero", features.denorm_flush_to_zero),
        Capability::SignedZeroInfNanPreserve => (
            "shaderSignedZeroInfNanPreserve",
            features.signed_zero_inf_nan_preserve,
        ),
        Capability::RoundingModeRTE => ("shaderRoundingModeRTE", features.rounding_mode_rte),
        Capability::RoundingModeRTZ => ("shaderRoundingModeRTZ", features.rounding_mode_rtz),
        refused => {
            return Err(Refusal::CapabilityRefused {
                capability,
                reason: why_refused(refused),
            });
        }
    };
    if present {
        Ok(())
    } else {
        Err(Refusal::CapabilityMissing {
            capability,
            feature,
        })
    }
}

fn why_refused(capability: Capability) -> &'static str {
    match capability {
        Capability::PhysicalStorageBufferAddresses | Capability::Addresses => {
            "raw addresses would reach other clients' memory; use bound buffers"
        }
        Capability::VariablePointers | Capability::VariablePointersStorageBuffer => {
            "a pointer must show which buffer it is of; index one buffer instead"
        }
        Capability::RuntimeDescriptorArray
        | Capability::ShaderNonUniform
        | Capability::StorageBufferArrayNonUniformIndexing
        | Capability::UniformBufferArrayNonUniformIndexing => {
            "what differs within a subgroup must not choose a buffer here; use uniform indices"
        }
        Capability::Kernel | Capability::Linkage => {
            "this is not Vulkan; compile for Vulkan compute"
        }
        _ => "it is not on the list of reviewed capabilities; compile without it",
    }
}

/// Extensions that only name allowed capabilities, or that add nothing but decorations and debug information.
const EXTENSIONS: [&str; 16] = [
    "SPV_EXT_shader_atomic_float16_add",
    "SPV_EXT_shader_atomic_float_add",
    "SPV_EXT_shader_atomic_float_min_max",
    // For StorageBufferArrayDynamicIndexing's relatives; those are refused one by one.
    "SPV_EXT_descriptor_indexing",
    // Decorations with strings, which are dropped.
    "SPV_GOOGLE_decorate_string",
    "SPV_GOOGLE_hlsl_functionality1",
    "SPV_GOOGLE_user_type",
    "SPV_KHR_16bit_storage",
    "SPV_KHR_8bit_storage",
    "SPV_KHR_float_controls",
    "SPV_KHR_integer_dot_product",
    // A decoration: the arithmetic is assumed not to wrap.
    "SPV_KHR_no_integer_wrap_decoration",
    // Debug information, which is dropped.
    "SPV_KHR_non_semantic_info",
    "SPV_KHR_storage_buffer_storage_class",
    "SPV_KHR_subgroup_rotate",
    "SPV_KHR_vulkan_memory_model",
];

/// The size, and the float controls, whose capabilities are checked.
const MODES: [ExecutionMode; 6] = [
    ExecutionMode::LocalSize,
    ExecutionMode::DenormPreserve,
    ExecutionMode::DenormFlushToZero,
    ExecutionMode::SignedZeroInfNanPreserve,
    ExecutionMode::RoundingModeRTE,
    ExecutionMode::RoundingModeRTZ,
];

/// Built-ins that tell an invocation its place in the grid; nothing of the device or of other clients.
const INPUTS: [BuiltIn; 14] = [
    BuiltIn::NumWorkgroups,
    BuiltIn::WorkgroupId,
    BuiltIn::LocalInvocationId,
    BuiltIn::GlobalInvocationId,
    BuiltIn::LocalInvocationIndex,
    BuiltIn::SubgroupSize,
    BuiltIn::NumSubgroups,
    BuiltIn::SubgroupId,
    BuiltIn::SubgroupLocalInvocationId,
    BuiltIn::SubgroupEqMask,
    BuiltIn::SubgroupGeMask,
    BuiltIn::SubgroupGtMask,
    BuiltIn::SubgroupLeMask,
    BuiltIn::SubgroupLtMask,
];
