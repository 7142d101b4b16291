//! Why a module was turned away.

use crate::limits::{
    MAX_BINDINGS, MAX_EXPANDED_INSTRUCTIONS, MAX_FUNCTIONS, MAX_ID_BOUND, MAX_INVOCATION_BYTES,
    MAX_MODULE_BYTES, MAX_NESTING, MAX_SPEC_CONSTANTS,
};
use rspirv::spirv::{Capability, ExecutionMode, Op, StorageClass, Word};
use thiserror::Error;

/// The reason for a refusal; [`Refusal::code`] numbers it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the messages say what the variants and their values are"
)]
pub enum Refusal {
    #[error("module has {bytes} bytes, more than {MAX_MODULE_BYTES}; split it")]
    TooLarge { bytes: usize },
    #[error("module has {bytes} bytes, not a whole header and a multiple of 4; send it complete")]
    Truncated { bytes: usize },
    #[error(
        "first word is {magic:#010x}, not little-endian SPIR-V's 0x07230203; send SPIR-V, not source or another order"
    )]
    NotSpirv { magic: u32 },
    #[error(
        "id bound is {bound}, beyond 1..={MAX_ID_BOUND}; compact the ids (spirv-opt --compact-ids)"
    )]
    IdBound { bound: u32 },
    #[error(
        "instruction at word {word} runs over the end of the module or has no length; send it complete"
    )]
    BrokenInstruction { word: usize },
    #[error("type %{id} is nested deeper than {MAX_NESTING}; flatten it")]
    TooDeep { id: Word },
    #[error("module has more than {MAX_FUNCTIONS} functions; inline or drop some")]
    TooManyFunctions,
    #[error("{count} specialization constants given, more than {MAX_SPEC_CONSTANTS}; give fewer")]
    TooManyConstants { count: usize },
    #[error("specialization constant {constant} is given twice; give it once")]
    DuplicateConstant { constant: u32 },
    #[error("the validator says: {diagnostic}; correct the module until spirv-val accepts it")]
    Invalid { diagnostic: String },
    #[error("the validator could not be set up; try again later")]
    ValidatorUnavailable,
    #[error("module is valid but cannot be read here: {reason}; avoid that construct")]
    Unreadable { reason: String },
    #[error("no entry point is called {name:?}; name one of the module's")]
    NoEntryPoint { name: String },
    #[error("entry point {name:?} is not a compute shader; only GLCompute can run here")]
    NotCompute { name: String },
    #[error("OpCapability {capability:?} is not allowed: {reason}")]
    CapabilityRefused {
        capability: Capability,
        reason: &'static str,
    },
    #[error(
        "OpCapability {capability:?} needs the feature {feature}, which this device lacks; compile without it"
    )]
    CapabilityMissing {
        capability: Capability,
        feature: &'static str,
    },
    #[error("OpExtension {name:?} is not on the list of allowed extensions; compile without it")]
    Extension { name: String },
    #[error("OpExtInstImport {name:?} is not allowed; use GLSL.std.450 only")]
    InstructionSet { name: String },
    #[error("OpMemoryModel is not Logical with GLSL450 or Vulkan; compile for Vulkan compute")]
    MemoryModel,
    #[error("OpExecutionMode {mode:?} is not allowed; remove it")]
    ExecutionMode { mode: ExecutionMode },
    #[error("Op{opcode:?} (%{id}) is not allowed: {reason}")]
    Instruction {
        opcode: Op,
        id: Word,
        reason: &'static str,
    },
    #[error(
        "variable %{id} is in storage class {class:?}; use storage buffers, uniform buffers and push constants"
    )]
    StorageClass { id: Word, class: StorageClass },
    #[error("input variable %{id} is not a compute built-in that is allowed here; remove it")]
    Input { id: Word },
    #[error(
        "%{id} ({what}) is not an integer constant that can be worked out here; make it a plain constant"
    )]
    Unresolved { id: Word, what: &'static str },
    #[error("variable %{id} has no DescriptorSet or no Binding decoration; give it both")]
    Undecorated { id: Word },
    #[error("variable %{id} is an array of descriptors without a size; give it one")]
    RuntimeDescriptorArray { id: Word },
    #[error(
        "index %{id} into an array of descriptors is not a constant below its size; use constant indices"
    )]
    DescriptorIndex { id: Word },
    #[error(
        "set {set} binding {binding} is declared twice with different kinds or sizes; make them agree"
    )]
    BindingConflict { set: u32, binding: u32 },
    #[error("entry point uses more than {MAX_BINDINGS} descriptor variables; merge some")]
    TooManyBindings,
    #[error("type %{id} has no size that can be worked out here; use an explicit layout")]
    Unsized { id: Word },
    #[error("push constants take {bytes} bytes of {limit}; move some into a buffer")]
    PushConstants { bytes: u64, limit: u32 },
    #[error("the entry point has no workgroup size; add LocalSize")]
    NoWorkgroupSize,
    #[error("workgroup size {size:?} exceeds the limit {limit:?} or has a zero; change it")]
    WorkgroupSize { size: [u64; 3], limit: [u32; 3] },
    #[error("a workgroup has {invocations} invocations of {limit}; make it smaller")]
    WorkgroupInvocations { invocations: u64, limit: u32 },
    #[error("workgroup variables take {bytes} bytes of {limit}; share less")]
    WorkgroupMemory { bytes: u64, limit: u32 },
    #[error(
        "an invocation's variables take {bytes} bytes of {MAX_INVOCATION_BYTES}; use a buffer for them"
    )]
    InvocationMemory { bytes: u64 },
    #[error(
        "function %{id} has more than {MAX_EXPANDED_INSTRUCTIONS} instructions with its calls expanded; call less"
    )]
    Expansion { id: Word },
    #[error("the rewritten module is invalid: {diagnostic}; report this as a bug")]
    Rewrite { diagnostic: String },
}

impl Refusal {
    /// The stable number of this kind, for the wire and for logs; 0 is never used.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Refusal::TooLarge { .. } => 1,
            Refusal::Truncated { .. } => 2,
            Refusal::NotSpirv { .. } => 3,
            Refusal::IdBound { .. } => 4,
            Refusal::BrokenInstruction { .. } => 5,
            Refusal::TooDeep { .. } => 6,
            Refusal::TooManyFunctions => 7,
            Refusal::TooManyConstants { .. } => 8,
            Refusal::DuplicateConstant { .. } => 9,
            Refusal::Invalid { .. } => 10,
            Refusal::ValidatorUnavailable => 11,
            Refusal::Unreadable { .. } => 12,
            Refusal::NoEntryPoint { .. } => 13,
            Refusal::NotCompute { .. } => 14,
            Refusal::CapabilityRefused { .. } => 15,
            Refusal::CapabilityMissing { .. } => 16,
            Refusal::Extension { .. } => 17,
            Refusal::InstructionSet { .. } => 18,
            Refusal::MemoryModel => 19,
            Refusal::ExecutionMode { .. } => 20,
            Refusal::Instruction { .. } => 21,
            Refusal::StorageClass { .. } => 22,
            Refusal::Input { .. } => 23,
            Refusal::Unresolved { .. } => 24,
            Refusal::Undecorated { .. } => 25,
            Refusal::RuntimeDescriptorArray { .. } => 26,
            Refusal::DescriptorIndex { .. } => 27,
            Refusal::BindingConflict { .. } => 28,
            Refusal::TooManyBindings => 29,
            Refusal::Unsized { .. } => 30,
            Refusal::PushConstants { .. } => 31,
            Refusal::NoWorkgroupSize => 32,
            Refusal::WorkgroupSize { .. } => 33,
            Refusal::WorkgroupInvocations { .. } => 34,
            Refusal::WorkgroupMemory { .. } => 35,
            Refusal::Rewrite { .. } => 36,
            Refusal::InvocationMemory { .. } => 37,
            Refusal::Expansion { .. } => 38,
        }
    }

    /// The same finding, about the module that this crate wrote.
    pub(crate) fn after_rewrite(self) -> Self {
        match self {
            Refusal::Invalid { diagnostic } => Refusal::Rewrite { diagnostic },
            other => other,
        }
    }
}
