//! Modules for tests: the shaders of the product, and assembly around a common frame.

use crate::target::{Features, Target};
use crate::validate::assemble;
use crate::{Access, Binding, BindingKind, Interface, Refusal, SpecConstant, admit, prepare};
use rspirv::binary::Assemble;

/// A device with 128 bytes of push constants and no optional features.
pub(crate) fn plain_target() -> Target {
    Target {
        vulkan_minor: 2,
        features: Features::default(),
        max_push_constant_bytes: 128,
        max_workgroup_size: [1024, 1024, 64],
        max_workgroup_invocations: 1024,
        max_workgroup_memory_bytes: 32 << 10,
        scalar_block_layout: false,
        robust_buffer_access2: true,
        zero_initialize_workgroup_memory: true,
    }
}

/// The parts of a module that a test varies; everything else is in [`Sample::text`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample<'a> {
    pub(crate) capabilities: &'a str,
    /// Ids for the interface of the entry point.
    pub(crate) interface: &'a str,
    /// Instead of a LocalSize of 1 1 1.
    pub(crate) modes: &'a str,
    pub(crate) annotations: &'a str,
    pub(crate) globals: &'a str,
    /// Of `main`.
    pub(crate) body: &'a str,
    pub(crate) functions: &'a str,
}

impl Sample<'_> {
    /// The module, assembled for `target`.
    pub(crate) fn bytes(&self, target: &Target) -> Vec<u8> {
        bytes_of(&assemble(&self.text(), target))
    }

    fn text(&self) -> String {
        let Sample {
            capabilities,
            interface,
            modes,
            annotations,
            globals,
            body,
            functions,
        } = self;
        let modes = if modes.is_empty() {
            "OpExecutionMode %main LocalSize 1 1 1"
        } else {
            modes
        };
        format!(
            r#"
            OpCapability Shader
            {capabilities}
            OpMemoryModel Logical GLSL450
            OpEntryPoint GLCompute %main "main" {interface}
            {modes}
            OpDecorate %words ArrayStride 4
            OpDecorate %block Block
            OpMemberDecorate %block 0 Offset 0
            {annotations}
            %void = OpTypeVoid
            %fn = OpTypeFunction %void
            %bool = OpTypeBool
            %u = OpTypeInt 32 0
            %f = OpTypeFloat 32
            %u3 = OpTypeVector %u 3
            %c0 = OpConstant %u 0
            %c1 = OpConstant %u 1
            %c2 = OpConstant %u 2
            %c3 = OpConstant %u 3
            %c4 = OpConstant %u 4
            %words = OpTypeRuntimeArray %u
            %block = OpTypeStruct %words
            %p_block = OpTypePointer StorageBuffer %block
            %p_words = OpTypePointer StorageBuffer %words
            %p_u = OpTypePointer StorageBuffer %u
            {globals}
            %main = OpFunction %void None %fn
            %entry = OpLabel
            {body}
            OpReturn
            OpFunctionEnd
            {functions}
            "#
        )
    }
}

/// Little-endian bytes of `words`.
pub(crate) fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The interface of a sample that passes.
pub(crate) fn accept(sample: &Sample<'_>, constants: &[SpecConstant]) -> Interface {
    accept_for(sample, constants, &plain_target())
}

/// The same for another device than the plain one.
pub(crate) fn accept_for(
    sample: &Sample<'_>,
    constants: &[SpecConstant],
    target: &Target,
) -> Interface {
    check_renumbered(&sample.bytes(target), constants, target)
}

/// Checks that what the gate lets through shows the same interface in set 0, and comes out of it unchanged.
pub(crate) fn check_renumbered(
    module: &[u8],
    constants: &[SpecConstant],
    target: &Target,
) -> Interface {
    let first = admit(module, "main", constants, target).expect("acceptable");
    let words = first.module.assemble();
    let again = admit(&bytes_of(&words), "main", &[], target).expect("acceptable again");
    let moved: Vec<Binding> = first
        .interface
        .bindings
        .iter()
        .map(|binding| Binding {
            set: 0,
            binding: binding.slot,
            ..*binding
        })
        .collect();
    assert_eq!(again.interface.bindings, moved);
    assert_eq!(
        again.interface.workgroup_size,
        first.interface.workgroup_size
    );
    assert_eq!(again.interface.spec_constants, []);
    assert_eq!(again.module.assemble(), words);
    prepare(module, "main", constants, target)
        .expect("acceptable")
        .interface
}

/// The refusal of a sample that does not pass.
pub(crate) fn refuse(sample: &Sample<'_>) -> Refusal {
    refuse_with(sample, &[])
}

/// The same with specialization values.
pub(crate) fn refuse_with(sample: &Sample<'_>, constants: &[SpecConstant]) -> Refusal {
    let target = plain_target();
    prepare(&sample.bytes(&target), "main", constants, &target).expect_err("not acceptable")
}

/// A single storage buffer.
pub(crate) fn storage(set: u32, binding: u32, slot: u32, access: Access) -> Binding {
    Binding {
        set,
        binding,
        count: 1,
        kind: BindingKind::Storage,
        access,
        slot,
    }
}

/// The compiled shaders of the product.
pub(crate) const NOOP: &[u8] = include_bytes!("../../shaders/noop.spv");
pub(crate) const FMA_LOOP: &[u8] = include_bytes!("../../shaders/fma_loop.spv");
pub(crate) const VECTOR_ADD: &[u8] = include_bytes!("../../shaders/vector_add.spv");
pub(crate) const MANDELBROT: &[u8] = include_bytes!("../../shaders/mandelbrot.spv");
pub(crate) const BLUR: &[u8] = include_bytes!("../../shaders/blur.spv");
pub(crate) const EDGES: &[u8] = include_bytes!("../../shaders/edges.spv");

/// A module of many constructs, not optimised, with debug information.
pub(crate) const RICH: &[u8] = include_bytes!("tests-data/rich.spv");
