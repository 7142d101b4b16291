//! What hardening leaves in a module, counted by instruction. That it computes the same is tested on a device.

use crate::parse::parse;
use crate::samples::{RICH, Sample, accept_for, plain_target, refuse};
use crate::{Features, Refusal, Target, prepare};
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Decoration, GlslStd450Op, MemoryAccess, Op};

fn hardened(sample: &Sample<'_>, target: &Target) -> Module {
    let prepared = prepare(&sample.bytes(target), "main", &[], target).expect("acceptable");
    parse(&prepared.words).expect("readable").module
}

fn count(module: &Module, wanted: impl Fn(&Instruction) -> bool) -> usize {
    module.all_inst_iter().filter(|found| wanted(found)).count()
}

fn opcode(wanted: Op) -> impl Fn(&Instruction) -> bool {
    move |found| found.class.opcode == wanted
}

fn clamps(module: &Module) -> usize {
    let umin = Operand::LiteralExtInstInteger(GlslStd450Op::UMin as u32);
    count(module, |found| found.operands.contains(&umin))
}

const ARRAYS: Sample<'static> = Sample {
    interface: "%a %shared %own",
    annotations: "
        OpDecorate %a DescriptorSet 0
        OpDecorate %a Binding 0",
    globals: "
        %a = OpVariable %p_block StorageBuffer
        %array = OpTypeArray %u3 %c4
        %p_shared = OpTypePointer Workgroup %array
        %shared = OpVariable %p_shared Workgroup
        %p_shared_u = OpTypePointer Workgroup %u
        %p_own = OpTypePointer Private %array
        %own = OpVariable %p_own Private
        %p_own_u = OpTypePointer Private %u
        %p_local = OpTypePointer Function %array
        %p_local_u = OpTypePointer Function %u",
    body: "
        %local = OpVariable %p_local Function
        %pa = OpAccessChain %p_u %a %c0 %c3
        %i = OpLoad %u %pa
        %p1 = OpAccessChain %p_shared_u %shared %i %c2
        %x1 = OpLoad %u %p1
        %p2 = OpInBoundsAccessChain %p_own_u %own %c3 %i
        %x2 = OpLoad %u %p2
        %p3 = OpAccessChain %p_local_u %local %c4 %c2
        %x3 = OpLoad %u %p3
        %v = OpCompositeConstruct %u3 %x1 %x2 %x3
        %x4 = OpVectorExtractDynamic %u %v %i
        %w = OpVectorInsertDynamic %u3 %v %x4 %i
        OpStore %pa %x4",
    functions: "",
    capabilities: "",
    modes: "",
};

#[test]
fn what_robust_buffer_access_leaves_open_is_clamped() {
    let module = hardened(&ARRAYS, &plain_target());
    // Two chains, two vectors; the constant beyond the array became a constant inside.
    assert_eq!(clamps(&module), 4);
    let chains: Vec<&Instruction> = module
        .all_inst_iter()
        .filter(|found| opcode(Op::AccessChain)(found))
        .collect();
    let last = chains.last().expect("a chain");
    assert_eq!(last.operands[1], chains[0].operands[2]);
}

#[test]
fn buffers_are_clamped_where_the_device_does_not_check_them() {
    let target = Target {
        robust_buffer_access2: false,
        ..plain_target()
    };
    let module = hardened(&ARRAYS, &target);
    assert_eq!(count(&module, opcode(Op::ArrayLength)), 1);
    assert_eq!(clamps(&module), 5);
}

#[test]
fn every_variable_begins_as_zero() {
    let module = hardened(&ARRAYS, &plain_target());
    let variables = module.all_inst_iter().filter(|found| {
        opcode(Op::Variable)(found) && !matches!(found.operands[0], Operand::StorageClass(class) if class == rspirv::spirv::StorageClass::StorageBuffer)
    });
    let begun: Vec<bool> = variables
        .map(|variable| variable.operands.len() == 2)
        .collect();
    assert_eq!(begun, [true; 3]);
}

#[test]
fn a_device_without_the_feature_clears_workgroup_memory_in_a_new_entry_point() {
    let target = Target {
        zero_initialize_workgroup_memory: false,
        ..plain_target()
    };
    for version in [2, 3] {
        let target = Target {
            vulkan_minor: version,
            ..target.clone()
        };
        let module = hardened(&ARRAYS, &target);
        assert_eq!(count(&module, opcode(Op::ControlBarrier)), 1);
        assert_eq!(count(&module, opcode(Op::LoopMerge)), 1);
        assert_eq!(module.functions.len(), 2);
    }
}

#[test]
fn promises_and_undefined_values_are_gone() {
    let sample = Sample {
        interface: "%a",
        annotations: "
            OpDecorate %a DescriptorSet 0
            OpDecorate %a Binding 0
            OpDecorate %sum NoUnsignedWrap",
        capabilities: r#"OpExtension "SPV_KHR_no_integer_wrap_decoration""#,
        globals: "
            %a = OpVariable %p_block StorageBuffer
            %unknown = OpUndef %u",
        body: "
            %nothing = OpUndef %u
            %pa = OpAccessChain %p_u %a %c0 %c3
            %i = OpLoad %u %pa Aligned|Volatile 256
            %sum = OpIAdd %u %i %nothing
            %more = OpIAdd %u %sum %unknown
            OpStore %pa %sum Aligned 64
            %called = OpFunctionCall %u %never",
        functions: "
            %never = OpFunction %u Pure %get
            %first = OpLabel
            OpUnreachable
            OpFunctionEnd",
        ..ARRAYS
    };
    let globals = format!("{}\n%get = OpTypeFunction %u", sample.globals);
    let module = hardened(
        &Sample {
            globals: &globals,
            ..sample
        },
        &plain_target(),
    );
    for gone in [Op::Undef, Op::Unreachable] {
        assert_eq!(count(&module, opcode(gone)), 0, "{gone:?}");
    }
    let promises = count(&module, |found| {
        found.operands.iter().any(|operand| match operand {
            Operand::MemoryAccess(access) => access.contains(MemoryAccess::ALIGNED),
            Operand::Decoration(decoration) => *decoration == Decoration::NoUnsignedWrap,
            Operand::FunctionControl(control) => !control.is_empty(),
            _ => false,
        })
    });
    assert_eq!(promises, 0);
    assert_eq!(count(&module, opcode(Op::ReturnValue)), 1);
}

#[test]
fn narrow_and_wide_indices_are_clamped_as_the_signed_numbers_they_are() {
    let sample = Sample {
        capabilities: "OpCapability Int16\nOpCapability Int64",
        body: "
            %pa = OpAccessChain %p_u %a %c0 %c3
            %i = OpLoad %u %pa
            %short = OpUConvert %u16 %i
            %long = OpUConvert %u64 %i
            %p1 = OpAccessChain %p_shared_u %shared %short %c2
            %x1 = OpLoad %u %p1
            %p2 = OpAccessChain %p_shared_u %shared %long %minus
            %x2 = OpLoad %u %p2
            %p3 = OpAccessChain %p_u %a %c0 %long
            OpStore %p3 %x2",
        ..ARRAYS
    };
    let globals = format!(
        "%u16 = OpTypeInt 16 0\n%u64 = OpTypeInt 64 0\n%i16 = OpTypeInt 16 1\n%minus = OpConstant %i16 -1\n{}",
        sample.globals
    );
    let target = Target {
        features: Features {
            int16: true,
            int64: true,
            ..Features::default()
        },
        robust_buffer_access2: false,
        ..plain_target()
    };
    let module = hardened(
        &Sample {
            globals: &globals,
            ..sample
        },
        &target,
    );
    assert_eq!(count(&module, opcode(Op::SConvert)), 2);
    // Two in the workgroup array, one for each chain into the buffer, and one more for the wide index; the constant -1
    // needs none.
    assert_eq!(clamps(&module), 5);
}

#[test]
fn a_rich_module_is_valid_on_a_device_that_checks_nothing() {
    for (robust_buffer_access2, zero_initialize_workgroup_memory) in [(false, false), (true, false)]
    {
        let target = Target {
            robust_buffer_access2,
            zero_initialize_workgroup_memory,
            features: Features {
                int64: true,
                subgroup_basic: true,
                subgroup_arithmetic: true,
                ..Features::default()
            },
            ..plain_target()
        };
        prepare(RICH, "main", &[], &target).expect("acceptable");
    }
}

#[test]
fn the_number_of_workgroups_comes_from_the_daemons_set() {
    for (type_, component) in [("%u3", "%u"), ("%i3", "%int")] {
        let globals = format!(
            "%int = OpTypeInt 32 1
            %i3 = OpTypeVector %int 3
            %p_groups = OpTypePointer Input {type_}
            %groups = OpVariable %p_groups Input
            %p_one = OpTypePointer Input {component}
            %a = OpVariable %p_block StorageBuffer"
        );
        let body = format!(
            "%all = OpLoad {type_} %groups
            %py = OpAccessChain %p_one %groups %c1
            %y = OpLoad {component} %py
            %bits = OpBitcast %u %y
            %pa = OpAccessChain %p_u %a %c0 %c3
            OpStore %pa %bits"
        );
        let sample = Sample {
            interface: "%groups %a",
            annotations: "
                OpDecorate %groups BuiltIn NumWorkgroups
                OpDecorate %a DescriptorSet 1
                OpDecorate %a Binding 0",
            globals: &globals,
            body: &body,
            ..Sample::default()
        };
        for vulkan_minor in [2, 3] {
            let target = Target {
                vulkan_minor,
                ..plain_target()
            };
            // The gate's own checks see the client's module only.
            accept_for(&sample, &[], &target);
            let words = prepare(&sample.bytes(&target), "main", &[], &target)
                .expect("acceptable")
                .words;
            assert!(crate::uses_daemon_set(&words));
            let module = parse(&words).expect("readable").module;
            let left = count(&module, |found| {
                found
                    .operands
                    .contains(&Operand::BuiltIn(rspirv::spirv::BuiltIn::NumWorkgroups))
            });
            assert_eq!(left, 0);
        }
    }
    let other = prepare(&ARRAYS.bytes(&plain_target()), "main", &[], &plain_target());
    assert!(!crate::uses_daemon_set(&other.expect("acceptable").words));
}

#[test]
fn a_pointer_to_the_number_of_workgroups_is_not_passed_on() {
    let sample = Sample {
        interface: "%groups",
        annotations: "OpDecorate %groups BuiltIn NumWorkgroups",
        globals: "
            %p_groups = OpTypePointer Input %u3
            %groups = OpVariable %p_groups Input
            %yes = OpConstantTrue %bool",
        body: "%same = OpCopyObject %p_groups %groups
            %x = OpLoad %u3 %same",
        ..Sample::default()
    };
    hardened(&sample, &plain_target());
    let sample = Sample {
        body: "%either = OpSelect %p_groups %yes %groups %groups",
        ..sample
    };
    assert!(matches!(
        refuse(&sample),
        Refusal::Instruction { .. } | Refusal::Invalid { .. }
    ));
}
