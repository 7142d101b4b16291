//! Freezing specialization constants: what is checked is what runs.

use crate::limits::MAX_SPEC_CONSTANTS;
use crate::refusal::Refusal;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::grammar::INSTRUCTION_TABLE;
use rspirv::spirv::{Decoration, Op, Word};
use std::collections::{BTreeMap, HashMap};

/// A value for a specialization constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecConstant {
    /// The constant's SpecId.
    pub id: u32,
    /// Raw bits; of a constant narrower than 8 bytes the low bytes count. A boolean is true unless these are 0.
    pub value: u64,
}

/// A specialization constant of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecEntry {
    /// The constant's SpecId.
    pub id: u32,
    /// Bytes of its value; 4 for a boolean, as in Vulkan.
    pub size_bytes: u32,
}

/// Writes the given values over the defaults and removes the SpecId decorations. Returns the constants the
/// module had, by id.
pub(crate) fn freeze(
    module: &mut Module,
    given: &[SpecConstant],
) -> Result<Vec<SpecEntry>, Refusal> {
    if given.len() > MAX_SPEC_CONSTANTS {
        return Err(Refusal::TooManyConstants { count: given.len() });
    }
    let mut values = HashMap::new();
    for constant in given {
        if values.insert(constant.id, constant.value).is_some() {
            return Err(Refusal::DuplicateConstant {
                constant: constant.id,
            });
        }
    }
    let mut spec_ids = HashMap::new();
    module
        .annotations
        .retain(|annotation| match annotation.operands.as_slice() {
            [
                Operand::IdRef(id),
                Operand::Decoration(Decoration::SpecId),
                Operand::LiteralBit32(spec_id),
            ] => {
                spec_ids.insert(*id, *spec_id);
                false
            }
            _ => true,
        });
    let types = numeric_types(module);
    let mut entries = BTreeMap::new();
    for instruction in &mut module.types_global_values {
        let Some(&spec_id) = instruction.result_id.and_then(|id| spec_ids.get(&id)) else {
            continue;
        };
        let numeric = instruction
            .result_type
            .and_then(|id| types.get(&id))
            .copied();
        entries.insert(
            spec_id,
            numeric.map_or(BOOLEAN_BYTES, |numeric| numeric.width_bits / 8),
        );
        if let Some(&value) = values.get(&spec_id) {
            set(instruction, numeric, value);
        }
    }
    Ok(entries
        .into_iter()
        .map(|(id, size_bytes)| SpecEntry { id, size_bytes })
        .collect())
}

/// A number type that a specialization constant can have.
#[derive(Debug, Clone, Copy)]
struct Numeric {
    width_bits: u32,
    signed: bool,
}

fn numeric_types(module: &Module) -> HashMap<Word, Numeric> {
    let types = module.types_global_values.iter();
    types
        .filter_map(|instruction| {
            let [Operand::LiteralBit32(width_bits), rest @ ..] = instruction.operands.as_slice()
            else {
                return None;
            };
            let signed = match instruction.class.opcode {
                Op::TypeInt => rest.first() == Some(&Operand::LiteralBit32(1)),
                Op::TypeFloat => false,
                _ => return None,
            };
            Some((
                instruction.result_id?,
                Numeric {
                    width_bits: *width_bits,
                    signed,
                },
            ))
        })
        .collect()
}

fn set(instruction: &mut Instruction, numeric: Option<Numeric>, value: u64) {
    match (instruction.class.opcode, numeric) {
        (Op::SpecConstantTrue | Op::SpecConstantFalse, _) => {
            // VkBool32: the low four bytes count.
            let opcode = if low_bits(value) == 0 {
                Op::SpecConstantFalse
            } else {
                Op::SpecConstantTrue
            };
            instruction.class = INSTRUCTION_TABLE.get(opcode);
        }
        (Op::SpecConstant, Some(Numeric { width_bits: 64, .. })) => {
            instruction.operands = vec![Operand::LiteralBit64(value)];
        }
        (Op::SpecConstant, Some(Numeric { width_bits, signed })) => {
            // A literal narrower than a word is sign-extended or zero-extended to one.
            let unused = 32u32.saturating_sub(width_bits).min(31);
            let high = low_bits(value) << unused;
            let word = if signed {
                (high.cast_signed() >> unused).cast_unsigned()
            } else {
                high >> unused
            };
            instruction.operands = vec![Operand::LiteralBit32(word)];
        }
        _ => {}
    }
}

fn low_bits(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

const BOOLEAN_BYTES: u32 = 4;

#[cfg(test)]
mod tests {
    use crate::samples::{Sample, accept, accept_for, plain_target, refuse_with};
    use crate::{Features, Refusal, SpecConstant, SpecEntry, Target, prepare};

    #[test]
    fn the_workgroup_size_constant_wins_and_takes_the_given_values() {
        let sample = Sample {
            annotations: "
                OpDecorate %x SpecId 0
                OpDecorate %y SpecId 1
                OpDecorate %size BuiltIn WorkgroupSize",
            globals: "
                %x = OpSpecConstant %u 8
                %y = OpSpecConstant %u 4
                %size = OpSpecConstantComposite %u3 %x %y %c2",
            ..Sample::default()
        };
        assert_eq!(accept(&sample, &[]).workgroup_size, [8, 4, 2]);
        assert_eq!(
            accept(&sample, &[SpecConstant { id: 0, value: 128 }]).workgroup_size,
            [128, 4, 2]
        );
        let refusal = refuse_with(&sample, &[SpecConstant { id: 0, value: 256 }]);
        assert_eq!(
            refusal,
            Refusal::WorkgroupInvocations {
                invocations: 2048,
                limit: 1024
            }
        );
        let refusal = refuse_with(&sample, &[SpecConstant { id: 1, value: 0 }]);
        assert!(
            matches!(refusal, Refusal::WorkgroupSize { .. }),
            "{refusal}"
        );
        let twice = [
            SpecConstant { id: 1, value: 1 },
            SpecConstant { id: 1, value: 2 },
        ];
        assert_eq!(
            refuse_with(&sample, &twice),
            Refusal::DuplicateConstant { constant: 1 }
        );
    }

    #[test]
    fn narrow_wide_and_boolean_constants_are_frozen() {
        let sample = Sample {
            capabilities: "OpCapability Int16\nOpCapability Int64",
            interface: "%shared",
            annotations: "OpDecorate %s SpecId 1\nOpDecorate %l SpecId 2\nOpDecorate %b SpecId 3",
            globals: "
                %i16 = OpTypeInt 16 1
                %u64 = OpTypeInt 64 0
                %s = OpSpecConstant %i16 1
                %l = OpSpecConstant %u64 1
                %b = OpSpecConstantFalse %bool
                %l32 = OpSpecConstantOp %u UConvert %l
                %s32 = OpSpecConstantOp %u SConvert %s
                %minus = OpSpecConstantOp %u SNegate %s32
                %sum = OpSpecConstantOp %u IAdd %l32 %minus
                %length = OpSpecConstantOp %u Select %b %sum %c1
                %array = OpTypeArray %u %length
                %p_array = OpTypePointer Workgroup %array
                %shared = OpVariable %p_array Workgroup
                %p_shared = OpTypePointer Workgroup %u",
            body: "%p = OpAccessChain %p_shared %shared %c0\nOpStore %p %c1",
            ..Sample::default()
        };
        let features = Features {
            int16: true,
            int64: true,
            ..Features::default()
        };
        // Low 16 bits: -5; so 65536 - -5 words.
        let constants =
            [(1, 0xffff_fffb), (2, 65536), (3, 1)].map(|(id, value)| SpecConstant { id, value });
        let target = Target {
            features,
            max_workgroup_memory_bytes: 65541 * 4,
            ..plain_target()
        };
        let interface = accept_for(&sample, &constants, &target);
        let sizes = [(1, 2), (2, 8), (3, 4)].map(|(id, size_bytes)| SpecEntry { id, size_bytes });
        assert_eq!(interface.spec_constants, sizes);
        let target = Target {
            max_workgroup_memory_bytes: 65541 * 4 - 1,
            ..target
        };
        let refusal =
            prepare(&sample.bytes(&target), "main", &constants, &target).expect_err("too large");
        assert_eq!(
            refusal,
            Refusal::WorkgroupMemory {
                bytes: 65541 * 4,
                limit: 65541 * 4 - 1
            }
        );
    }
}
