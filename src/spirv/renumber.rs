//! From the client's (set, binding) pairs to bindings of set 0.

use crate::descriptors::Descriptor;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Decoration, Op, Word};
use std::collections::HashMap;

/// Gives every descriptor variable its slot as the binding in set 0. Its old decorations are removed first, all
/// of them, so that a repeated one cannot bring an old number back.
pub(crate) fn into_set_zero(module: &mut Module, descriptors: &[(Descriptor, u32)]) {
    let slots: HashMap<Word, u32> = descriptors
        .iter()
        .map(|(descriptor, slot)| (descriptor.variable, *slot))
        .collect();
    module.annotations.retain(|annotation| {
        let [Operand::IdRef(id), Operand::Decoration(decoration), ..] =
            annotation.operands.as_slice()
        else {
            return true;
        };
        let places = matches!(decoration, Decoration::DescriptorSet | Decoration::Binding);
        !(places && slots.contains_key(id))
    });
    for (descriptor, slot) in descriptors {
        for (decoration, number) in [(Decoration::DescriptorSet, 0), (Decoration::Binding, *slot)] {
            let operands = vec![
                Operand::IdRef(descriptor.variable),
                Operand::Decoration(decoration),
                Operand::LiteralBit32(number),
            ];
            module
                .annotations
                .push(Instruction::new(Op::Decorate, None, None, operands));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Access;
    use crate::samples::{Sample, accept, check_renumbered, plain_target, storage};

    #[test]
    fn sets_are_folded_into_one_in_order_and_unused_variables_vanish() {
        let interface = accept(
            &Sample {
                interface: "%a %b %c %unused",
                annotations: "
                    OpDecorate %a DescriptorSet 3
                    OpDecorate %a Binding 0
                    OpDecorate %b DescriptorSet 0
                    OpDecorate %b Binding 7
                    OpDecorate %c DescriptorSet 0
                    OpDecorate %c Binding 2
                    OpDecorate %unused DescriptorSet 0
                    OpDecorate %unused Binding 0",
                globals: "
                    %a = OpVariable %p_block StorageBuffer
                    %b = OpVariable %p_block StorageBuffer
                    %c = OpVariable %p_block StorageBuffer
                    %unused = OpVariable %p_block StorageBuffer",
                body: "
                    %pa = OpAccessChain %p_u %a %c0 %c0
                    %x = OpLoad %u %pa
                    %pb = OpInBoundsAccessChain %p_u %b %c0 %c0
                    OpStore %pb %x
                    %n = OpArrayLength %u %c 0",
                ..Sample::default()
            },
            &[],
        );
        let expected = [
            storage(0, 2, 0, Access::Read),
            storage(0, 7, 1, Access::Write),
            storage(3, 0, 2, Access::Read),
        ];
        assert_eq!(interface.bindings, expected);
    }

    #[test]
    fn variables_that_share_a_binding_share_the_slot_and_the_access() {
        let sample = Sample {
            interface: "%a %b",
            annotations: "
                OpDecorate %a DescriptorSet 1
                OpDecorate %a Binding 1
                OpDecorate %b DescriptorSet 1
                OpDecorate %b Binding 1",
            globals: "
                %a = OpVariable %p_block StorageBuffer
                %b = OpVariable %p_block StorageBuffer",
            body: "
                %pa = OpAccessChain %p_u %a %c0 %c0
                %pb = OpAccessChain %p_u %b %c0 %c1
                OpCopyMemory %pb %pa",
            ..Sample::default()
        };
        assert_eq!(
            accept(&sample, &[]).bindings,
            [storage(1, 1, 0, Access::ReadWrite)]
        );
    }

    #[test]
    fn buffers_in_the_old_style_are_storage_buffers() {
        let sample = Sample {
            annotations: "
                OpDecorate %old BufferBlock
                OpMemberDecorate %old 0 Offset 0
                OpDecorate %a DescriptorSet 0
                OpDecorate %a Binding 1
                OpDecorate %a NonWritable",
            globals: "
                %old = OpTypeStruct %words
                %p_old = OpTypePointer Uniform %old
                %p_uu = OpTypePointer Uniform %u
                %a = OpVariable %p_old Uniform",
            body: "
                %pa = OpAccessChain %p_uu %a %c0 %c0
                %was = OpAtomicIAdd %u %pa %c1 %c0 %c1",
            ..Sample::default()
        };
        let mut module = sample.bytes(&plain_target());
        module[VERSION_MINOR_AT] = 3;
        let interface = check_renumbered(&module, &[], &plain_target());
        // The decoration is a claim; the code writes.
        assert_eq!(interface.bindings, [storage(0, 1, 0, Access::ReadWrite)]);
    }

    /// Byte of the header that holds the minor version of SPIR-V.
    const VERSION_MINOR_AT: usize = 5;
}
