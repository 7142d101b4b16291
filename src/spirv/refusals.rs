//! What the allow-list keeps out, and what it lets in where the device has the feature.

use crate::samples::{Sample, plain_target, refuse};
use crate::{Features, Refusal, Target, prepare};

fn refuse_for(sample: &Sample<'_>, target: &Target) -> Refusal {
    prepare(&sample.bytes(target), "main", &[], target).expect_err("not acceptable")
}

fn declaring(capabilities: &str) -> Sample<'_> {
    Sample {
        capabilities,
        ..Sample::default()
    }
}

#[test]
fn capabilities_that_reach_outside_are_refused_with_a_reason() {
    let cases = [
        "OpCapability PhysicalStorageBufferAddresses",
        "OpCapability VariablePointers\nOpCapability VariablePointersStorageBuffer",
        "OpCapability RuntimeDescriptorArray",
        "OpCapability ShaderNonUniform",
        "OpCapability SampledBuffer",
        "OpCapability StorageImageExtendedFormats",
        "OpCapability Geometry",
    ];
    for capabilities in cases {
        let refusal = refuse(&declaring(capabilities));
        assert!(
            matches!(refusal, Refusal::CapabilityRefused { .. }),
            "{capabilities}: {refusal}"
        );
    }
    // Those that are not Vulkan's at all do not pass the validator.
    for capabilities in [
        "OpCapability Kernel",
        "OpCapability Linkage",
        "OpCapability Addresses",
    ] {
        assert_eq!(refuse(&declaring(capabilities)).code(), 10);
    }
}

#[test]
fn a_capability_passes_exactly_where_the_device_has_the_feature() {
    let cases: [(&str, Features); 7] = [
        (
            "Int8",
            Features {
                int8: true,
                ..Features::default()
            },
        ),
        (
            "Int64",
            Features {
                int64: true,
                ..Features::default()
            },
        ),
        (
            "Float64",
            Features {
                float64: true,
                ..Features::default()
            },
        ),
        (
            "StorageBuffer16BitAccess",
            Features {
                storage_buffer_16bit: true,
                ..Features::default()
            },
        ),
        (
            "GroupNonUniform",
            Features {
                subgroup_basic: true,
                ..Features::default()
            },
        ),
        (
            "DotProduct",
            Features {
                integer_dot_product: true,
                ..Features::default()
            },
        ),
        (
            "SignedZeroInfNanPreserve",
            Features {
                signed_zero_inf_nan_preserve: true,
                ..Features::default()
            },
        ),
    ];
    for (name, features) in cases {
        let text = format!("OpCapability {name}");
        let sample = declaring(&text);
        let without = Target {
            vulkan_minor: 3,
            ..plain_target()
        };
        let refusal = refuse_for(&sample, &without);
        assert!(
            matches!(refusal, Refusal::CapabilityMissing { .. }),
            "{name}: {refusal}"
        );
        let with = Target {
            features,
            ..without
        };
        prepare(&sample.bytes(&with), "main", &[], &with).expect(name);
    }
}

#[test]
fn unknown_extensions_and_instruction_sets_are_refused() {
    let refusal = refuse(&declaring(r#"OpExtension "SPV_KHR_ray_query""#));
    assert_eq!(
        refusal,
        Refusal::Extension {
            name: "SPV_KHR_ray_query".to_owned()
        }
    );
    let refusal = refuse(&declaring(r#"%set = OpExtInstImport "SPV_AMD_gcn_shader""#));
    assert_eq!(refusal.code(), 18, "{refusal}");
}

#[test]
fn images_are_refused() {
    let sample = Sample {
        interface: "%image",
        annotations: "OpDecorate %image DescriptorSet 0\nOpDecorate %image Binding 0",
        globals: "
            %t_image = OpTypeImage %f 2D 0 0 0 2 Rgba32f
            %p_image = OpTypePointer UniformConstant %t_image
            %image = OpVariable %p_image UniformConstant",
        body: "%loaded = OpLoad %t_image %image",
        ..Sample::default()
    };
    assert!(matches!(
        refuse(&sample),
        Refusal::Instruction { .. } | Refusal::StorageClass { .. }
    ));
}

#[test]
fn too_much_workgroup_memory_is_refused_whatever_the_multiplication_does() {
    for (inner, outer) in [("32769", "1"), ("0xffffffff", "0xffffffff")] {
        let globals = format!(
            "%inner = OpConstant %u {inner}
            %outer = OpConstant %u {outer}
            %row = OpTypeArray %bool %inner
            %table = OpTypeArray %row %outer
            %p_table = OpTypePointer Workgroup %table
            %shared = OpVariable %p_table Workgroup
            %p_shared = OpTypePointer Workgroup %bool
            %yes = OpConstantTrue %bool"
        );
        let sample = Sample {
            interface: "%shared",
            globals: &globals,
            body: "%p = OpAccessChain %p_shared %shared %c0 %c0\nOpStore %p %yes",
            ..Sample::default()
        };
        assert!(matches!(
            refuse(&sample),
            Refusal::WorkgroupMemory { limit: 32768, .. }
        ));
    }
}

#[test]
fn one_binding_with_two_meanings_is_refused() {
    let sample = Sample {
        interface: "%a %b",
        annotations: "
            OpDecorate %a DescriptorSet 1
            OpDecorate %a Binding 1
            OpDecorate %b DescriptorSet 1
            OpDecorate %b Binding 1
            OpDecorate %uniform_block Block
            OpMemberDecorate %uniform_block 0 Offset 0",
        globals: "
            %a = OpVariable %p_block StorageBuffer
            %uniform_block = OpTypeStruct %u
            %p_uniform = OpTypePointer Uniform %uniform_block
            %b = OpVariable %p_uniform Uniform",
        body: "
            %n = OpArrayLength %u %a 0
            %x = OpLoad %uniform_block %b",
        ..Sample::default()
    };
    assert_eq!(
        refuse(&sample),
        Refusal::BindingConflict { set: 1, binding: 1 }
    );
}

#[test]
fn the_validator_s_finding_is_passed_on() {
    let sample = Sample {
        body: "%x = OpIAdd %f %c0 %c1",
        ..Sample::default()
    };
    let Refusal::Invalid { diagnostic, .. } = refuse(&sample) else {
        panic!("not the validator")
    };
    assert!(diagnostic.contains("IAdd"), "{diagnostic}");
}

#[test]
fn layouts_of_scalars_need_the_feature() {
    let sample = Sample {
        annotations: "
            OpDecorate %packed Block
            OpMemberDecorate %packed 0 Offset 0
            OpMemberDecorate %packed 1 Offset 4
            OpDecorate %a DescriptorSet 0
            OpDecorate %a Binding 0",
        interface: "%a",
        globals: "
            %packed = OpTypeStruct %u %inner
            %p_packed = OpTypePointer StorageBuffer %packed
            %a = OpVariable %p_packed StorageBuffer",
        body: "%x = OpLoad %packed %a",
        ..Sample::default()
    };
    let globals = format!("%inner = OpTypeStruct %u3\n{}", sample.globals);
    let annotations = format!("{}\nOpMemberDecorate %inner 0 Offset 0", sample.annotations);
    let sample = Sample {
        globals: &globals,
        annotations: &annotations,
        ..sample
    };
    assert_eq!(refuse(&sample).code(), 10);
    let scalar = Target {
        scalar_block_layout: true,
        ..plain_target()
    };
    prepare(&sample.bytes(&scalar), "main", &[], &scalar).expect("fits the scalar layout");
}

#[test]
fn variables_of_an_invocation_are_bounded() {
    let sample = Sample {
        interface: "%kept",
        globals: "
            %half = OpConstant %u 8192
            %array = OpTypeArray %u %half
            %p_array = OpTypePointer Private %array
            %p_one = OpTypePointer Private %u
            %kept = OpVariable %p_array Private
            %p_local = OpTypePointer Function %array
            %p_local_one = OpTypePointer Function %u",
        body: "
            %local = OpVariable %p_local Function
            %more = OpVariable %p_local_one Function
            %p1 = OpAccessChain %p_one %kept %c0
            OpStore %p1 %c1
            %p2 = OpAccessChain %p_local_one %local %c0
            OpStore %p2 %c1
            OpStore %more %c1",
        ..Sample::default()
    };
    assert_eq!(
        refuse(&sample),
        Refusal::InvocationMemory {
            bytes: 2 * 4 * 8192 + 4
        }
    );
}
