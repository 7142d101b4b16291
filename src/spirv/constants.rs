//! Integer and boolean constants, worked out from a module whose specialization values are frozen.

use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Op, Word};
use std::collections::HashMap;

/// Values by id, and the parts of composite constants.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    types: HashMap<Word, Kind>,
    scalars: HashMap<Word, Scalar>,
    composites: HashMap<Word, Vec<Word>>,
}

/// A scalar type of integers or booleans; whether a value has a sign is up to the operation.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// 1 for a boolean.
    width_bits: u32,
}

#[derive(Debug, Clone, Copy)]
struct Scalar {
    /// Zero-extended.
    bits: u64,
    kind: Kind,
}

impl Constants {
    /// One pass: constants are declared before they are used.
    pub(crate) fn of(module: &Module) -> Self {
        let mut constants = Constants::default();
        for instruction in &module.types_global_values {
            constants.add(instruction);
        }
        constants
    }

    /// The value of an integer constant, read as unsigned; `None` for what is not one or cannot be worked out.
    pub(crate) fn unsigned(&self, id: Word) -> Option<u64> {
        self.scalars.get(&id).map(|scalar| scalar.bits)
    }

    /// The ids of the parts of a composite constant.
    pub(crate) fn parts(&self, id: Word) -> Option<&[Word]> {
        self.composites.get(&id).map(Vec::as_slice)
    }

    fn add(&mut self, instruction: &Instruction) {
        let Some(id) = instruction.result_id else {
            return;
        };
        let operands = instruction.operands.as_slice();
        match (instruction.class.opcode, operands) {
            (Op::TypeInt, [Operand::LiteralBit32(width_bits), ..]) => {
                self.types.insert(
                    id,
                    Kind {
                        width_bits: *width_bits,
                    },
                );
            }
            (Op::TypeBool, _) => {
                self.types.insert(id, Kind { width_bits: 1 });
            }
            (Op::ConstantComposite | Op::SpecConstantComposite, parts) => {
                self.composites
                    .insert(id, parts.iter().filter_map(Operand::id_ref_any).collect());
            }
            (opcode, operands) => {
                let kind = instruction
                    .result_type
                    .and_then(|id| self.types.get(&id))
                    .copied();
                let Some(kind) = kind else { return };
                if let Some(bits) = self.evaluate(opcode, kind, operands) {
                    self.scalars.insert(
                        id,
                        Scalar {
                            bits: bits & kind.mask(),
                            kind,
                        },
                    );
                }
            }
        }
    }

    fn evaluate(&self, opcode: Op, kind: Kind, operands: &[Operand]) -> Option<u64> {
        match (opcode, operands) {
            (Op::Constant | Op::SpecConstant, [Operand::LiteralBit32(value)]) => {
                Some(u64::from(*value))
            }
            (Op::Constant | Op::SpecConstant, [Operand::LiteralBit64(value)]) => Some(*value),
            (Op::ConstantTrue | Op::SpecConstantTrue, _) => Some(1),
            (Op::ConstantFalse | Op::SpecConstantFalse | Op::ConstantNull, _) => Some(0),
            (Op::SpecConstantOp, [Operand::LiteralSpecConstantOpInteger(operation), rest @ ..]) => {
                self.operate(*operation, kind, rest)
            }
            _ => None,
        }
    }

    /// OpSpecConstantOp over scalars. What is missing here is refused where it would be needed.
    fn operate(&self, operation: Op, kind: Kind, operands: &[Operand]) -> Option<u64> {
        if let (Op::CompositeExtract, [composite, Operand::LiteralBit32(index)]) =
            (operation, operands)
        {
            let parts = self.parts(composite.id_ref_any()?)?;
            return self.unsigned(*parts.get(*index as usize)?);
        }
        let scalar = |at: usize| self.scalars.get(&operands.get(at)?.id_ref_any()?).copied();
        let a = scalar(0)?;
        match operation {
            Op::UConvert => return Some(a.bits),
            Op::SConvert => return Some(a.signed().cast_unsigned()),
            Op::SNegate => return Some(a.bits.wrapping_neg()),
            Op::Not => return Some(!a.bits),
            Op::LogicalNot => return Some(a.bits ^ 1),
            Op::Select => {
                return Some(if a.bits == 1 {
                    scalar(1)?.bits
                } else {
                    scalar(2)?.bits
                });
            }
            _ => {}
        }
        binary(operation, kind, a, scalar(1)?)
    }
}

impl Kind {
    fn mask(self) -> u64 {
        u64::MAX
            .checked_shr(64u32.saturating_sub(self.width_bits))
            .unwrap_or(0)
    }
}

impl Scalar {
    /// Sign-extended from its width.
    fn signed(self) -> i64 {
        let unused = 64u32.saturating_sub(self.kind.width_bits).min(63);
        (self.bits << unused).cast_signed() >> unused
    }
}

fn binary(operation: Op, kind: Kind, a: Scalar, b: Scalar) -> Option<u64> {
    let shift = || {
        u32::try_from(b.bits)
            .ok()
            .filter(|&shift| shift < kind.width_bits)
    };
    let (signed_a, signed_b) = (a.signed(), b.signed());
    Some(match operation {
        Op::IAdd => a.bits.wrapping_add(b.bits),
        Op::ISub => a.bits.wrapping_sub(b.bits),
        Op::IMul => a.bits.wrapping_mul(b.bits),
        Op::UDiv => a.bits.checked_div(b.bits)?,
        Op::UMod => a.bits.checked_rem(b.bits)?,
        Op::SDiv => signed_a.checked_div(signed_b)?.cast_unsigned(),
        Op::SRem => signed_a.checked_rem(signed_b)?.cast_unsigned(),
        Op::SMod => {
            // The sign follows the divisor.
            let remainder = signed_a.checked_rem(signed_b)?;
            let adjust = remainder != 0 && (remainder < 0) != (signed_b < 0);
            (if adjust {
                remainder.checked_add(signed_b)?
            } else {
                remainder
            })
            .cast_unsigned()
        }
        Op::ShiftLeftLogical => a.bits << shift()?,
        Op::ShiftRightLogical => a.bits >> shift()?,
        Op::ShiftRightArithmetic => (signed_a >> shift()?).cast_unsigned(),
        Op::BitwiseAnd | Op::LogicalAnd => a.bits & b.bits,
        Op::BitwiseOr | Op::LogicalOr => a.bits | b.bits,
        Op::BitwiseXor | Op::LogicalNotEqual => a.bits ^ b.bits,
        Op::IEqual | Op::LogicalEqual => u64::from(a.bits == b.bits),
        Op::INotEqual => u64::from(a.bits != b.bits),
        Op::ULessThan => u64::from(a.bits < b.bits),
        Op::ULessThanEqual => u64::from(a.bits <= b.bits),
        Op::UGreaterThan => u64::from(a.bits > b.bits),
        Op::UGreaterThanEqual => u64::from(a.bits >= b.bits),
        Op::SLessThan => u64::from(signed_a < signed_b),
        Op::SLessThanEqual => u64::from(signed_a <= signed_b),
        Op::SGreaterThan => u64::from(signed_a > signed_b),
        Op::SGreaterThanEqual => u64::from(signed_a >= signed_b),
        _ => return None,
    })
}
