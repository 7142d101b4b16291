//! Types, and the bytes they take.
//!
//! All functions recurse over types, whose depth `scan` bounds. Sizes saturate instead of overflowing, so an
//! absurd array is "too large" and never small.

use crate::constants::Constants;
use crate::decorations::Decorations;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Decoration, Op, StorageClass, Word};
use std::collections::HashMap;

/// A type, as far as sizes and descriptors need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar { bytes: u64 },
    Vector { component: Word, count: u32 },
    Matrix { column: Word, count: u32 },
    Array { element: Word, length: Word },
    RuntimeArray { element: Word },
    Struct { members: Vec<Word> },
    Pointer { class: StorageClass, to: Word },
}

/// The types of a module with what their sizes depend on.
#[derive(Debug)]
pub(crate) struct Types {
    by_id: HashMap<Word, Type>,
    /// Width in bits of integer types.
    integers: HashMap<Word, u32>,
    pub(crate) constants: Constants,
    pub(crate) decorations: Decorations,
}

/// How a matrix lies in a structure, from the decorations of the member that is or contains it.
#[derive(Debug, Clone, Copy)]
struct MatrixLayout {
    stride: u64,
    row_major: bool,
}

impl Types {
    pub(crate) fn of(module: &Module) -> Self {
        let types = module.types_global_values.iter();
        Types {
            by_id: types
                .filter_map(|type_| Some((type_.result_id?, read(type_)?)))
                .collect(),
            integers: module
                .types_global_values
                .iter()
                .filter_map(|type_| match type_.operands.first() {
                    Some(Operand::LiteralBit32(width_bits))
                        if type_.class.opcode == Op::TypeInt =>
                    {
                        Some((type_.result_id?, *width_bits))
                    }
                    _ => None,
                })
                .collect(),
            constants: Constants::of(module),
            decorations: Decorations::of(module),
        }
    }

    pub(crate) fn get(&self, id: Word) -> Option<&Type> {
        self.by_id.get(&id)
    }

    /// Bits of an integer type; `None` for any other.
    pub(crate) fn integer_bits(&self, id: Word) -> Option<u32> {
        self.integers.get(&id).copied()
    }

    /// Storage class and pointee of a pointer type.
    pub(crate) fn pointee(&self, id: Word) -> Option<(StorageClass, Word)> {
        match self.get(id)? {
            Type::Pointer { class, to } => Some((*class, *to)),
            _ => None,
        }
    }

    /// Bytes from the start of a block to the end of its last member, by its Offset and stride decorations.
    pub(crate) fn block_bytes(&self, id: Word) -> Option<u64> {
        self.explicit(id, None)
    }

    fn explicit(&self, id: Word, matrix: Option<MatrixLayout>) -> Option<u64> {
        match self.get(id)? {
            Type::Scalar { bytes } => Some(*bytes),
            Type::Vector { component, count } => {
                Some(self.explicit(*component, None)? * u64::from(*count))
            }
            Type::Matrix { column, count } => {
                let &Type::Vector {
                    component,
                    count: rows,
                } = self.get(*column)?
                else {
                    return None;
                };
                let layout = matrix?;
                let (lines, each) = if layout.row_major {
                    (rows, *count)
                } else {
                    (*count, rows)
                };
                let line_bytes = self.explicit(component, None)? * u64::from(each);
                Some(strided(u64::from(lines), layout.stride, line_bytes))
            }
            Type::Array { element, length } => {
                let stride = self.decorations.value(id, Decoration::ArrayStride)?;
                let count = self.constants.unsigned(*length)?;
                Some(strided(
                    count,
                    u64::from(stride),
                    self.explicit(*element, matrix)?,
                ))
            }
            Type::Struct { members } => {
                let mut end = 0u64;
                for (index, member) in (0u32..).zip(members) {
                    let offset = self.decorations.member(id, index, Decoration::Offset)?;
                    let layout = self
                        .decorations
                        .member(id, index, Decoration::MatrixStride)
                        .map(|stride| {
                            let row_major = self
                                .decorations
                                .member(id, index, Decoration::RowMajor)
                                .is_some();
                            MatrixLayout {
                                stride: u64::from(stride),
                                row_major,
                            }
                        });
                    end =
                        end.max(u64::from(offset).saturating_add(self.explicit(*member, layout)?));
                }
                Some(end)
            }
            Type::RuntimeArray { .. } | Type::Pointer { .. } => None,
        }
    }

    /// Bytes and alignment by std430 with 32-bit booleans, which is how Vulkan bounds workgroup memory.
    pub(crate) fn std430(&self, id: Word) -> Option<(u64, u64)> {
        match self.get(id)? {
            Type::Scalar { bytes } => Some((*bytes, *bytes)),
            Type::Vector { component, count } => {
                let (bytes, align) = self.std430(*component)?;
                let aligned_count = if *count == 3 { 4 } else { u64::from(*count) };
                Some((bytes * u64::from(*count), align * aligned_count))
            }
            Type::Matrix { column, count } => {
                let (bytes, align) = self.std430(*column)?;
                Some((
                    round_up(bytes, align).saturating_mul(u64::from(*count)),
                    align,
                ))
            }
            Type::Array { element, length } => {
                let (bytes, align) = self.std430(*element)?;
                let count = self.constants.unsigned(*length)?;
                Some((round_up(bytes, align).saturating_mul(count), align))
            }
            Type::Struct { members } => {
                let mut end = 0u64;
                let mut widest = 1u64;
                for member in members {
                    let (bytes, align) = self.std430(*member)?;
                    end = round_up(end, align).saturating_add(bytes);
                    widest = widest.max(align);
                }
                Some((round_up(end, widest), widest))
            }
            Type::RuntimeArray { .. } | Type::Pointer { .. } => None,
        }
    }
}

/// `value` rounded up to a multiple of `align`, saturating.
pub(crate) fn round_up(value: u64, align: u64) -> u64 {
    value.checked_next_multiple_of(align).unwrap_or(u64::MAX)
}

fn strided(count: u64, stride: u64, last_bytes: u64) -> u64 {
    match count.checked_sub(1) {
        Some(before_last) => before_last
            .saturating_mul(stride)
            .saturating_add(last_bytes),
        None => 0,
    }
}

fn read(instruction: &Instruction) -> Option<Type> {
    let operands = instruction.operands.as_slice();
    Some(match (instruction.class.opcode, operands) {
        (Op::TypeBool, _) => Type::Scalar { bytes: 4 },
        (Op::TypeInt | Op::TypeFloat, [Operand::LiteralBit32(width_bits), ..]) => Type::Scalar {
            bytes: u64::from(width_bits / 8),
        },
        (Op::TypeVector, [Operand::IdRef(component), Operand::LiteralBit32(count)]) => {
            Type::Vector {
                component: *component,
                count: *count,
            }
        }
        (Op::TypeMatrix, [Operand::IdRef(column), Operand::LiteralBit32(count)]) => Type::Matrix {
            column: *column,
            count: *count,
        },
        (Op::TypeArray, [Operand::IdRef(element), Operand::IdRef(length)]) => Type::Array {
            element: *element,
            length: *length,
        },
        (Op::TypeRuntimeArray, [Operand::IdRef(element)]) => {
            Type::RuntimeArray { element: *element }
        }
        (Op::TypeStruct, members) => Type::Struct {
            members: members.iter().filter_map(Operand::id_ref_any).collect(),
        },
        (Op::TypePointer, [Operand::StorageClass(class), Operand::IdRef(to)]) => Type::Pointer {
            class: *class,
            to: *to,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::samples::{Sample, accept, plain_target, storage};
    use crate::{Access, Binding, BindingKind, Refusal, Target, prepare};

    #[test]
    fn push_constants_end_with_their_last_member() {
        let sample = Sample {
            interface: "%push %uniform",
            annotations: "
                OpDecorate %push_block Block
                OpMemberDecorate %push_block 0 Offset 8
                OpMemberDecorate %push_block 1 Offset 16
                OpMemberDecorate %push_block 2 Offset 48
                OpMemberDecorate %push_block 2 ColMajor
                OpMemberDecorate %push_block 2 MatrixStride 16
                OpDecorate %five ArrayStride 4
                OpDecorate %uniform_block Block
                OpMemberDecorate %uniform_block 0 Offset 0
                OpDecorate %uniform DescriptorSet 2
                OpDecorate %uniform Binding 0",
            globals: "
                %f3 = OpTypeVector %f 3
                %f3x4 = OpTypeMatrix %f3 4
                %c5 = OpConstant %u 5
                %five = OpTypeArray %u %c5
                %push_block = OpTypeStruct %u %five %f3x4
                %p_push = OpTypePointer PushConstant %push_block
                %p_push_u = OpTypePointer PushConstant %u
                %push = OpVariable %p_push PushConstant
                %uniform_block = OpTypeStruct %u
                %p_uniform = OpTypePointer Uniform %uniform_block
                %uniform = OpVariable %p_uniform Uniform",
            body: "
                %p = OpAccessChain %p_push_u %push %c0
                %x = OpLoad %u %p
                %whole = OpLoad %uniform_block %uniform",
            ..Sample::default()
        };
        let interface = accept(&sample, &[]);
        assert_eq!(interface.push_constant_bytes, 108);
        let expected = Binding {
            kind: BindingKind::Uniform,
            ..storage(2, 0, 0, Access::Read)
        };
        assert_eq!(interface.bindings, [expected]);

        let target = Target {
            max_push_constant_bytes: 104,
            ..plain_target()
        };
        let refusal = prepare(&sample.bytes(&target), "main", &[], &target).expect_err("too large");
        assert_eq!(
            refusal,
            Refusal::PushConstants {
                bytes: 108,
                limit: 104
            }
        );
    }
}
