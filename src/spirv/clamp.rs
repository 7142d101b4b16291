//! Indices that stay inside what they index.
//!
//! Robust buffer access covers buffers and nothing else: an index beyond a workgroup array reached other memory of the
//! workgroup on lavapipe, and beyond a local array it is the driver's stack. Method: each index of an access chain that
//! is not a constant below the length becomes `min(index, length - 1)`, unsigned, so that negative ones are caught too.
//! The choice of a buffer from an array of descriptors is clamped in the same way. Buffers themselves are clamped only
//! for devices without robustBufferAccess2, arrays without a length by OpArrayLength.

use crate::descriptors::is_descriptor_array;
use crate::edit::{Editor, id, literal};
use crate::facts::operand;
use crate::layout::{Type, Types};
use crate::refusal::Refusal;
use rspirv::dr::{Function, Instruction, Module};
use rspirv::spirv::{GlslStd450Op, Op, StorageClass, Word};
use std::collections::HashMap;

/// What the device checks by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffers {
    /// robustBufferAccess2.
    Robust,
    /// Indices into buffers are clamped as well.
    Clamped,
}

/// Clamps all indices of the module.
pub(crate) fn indices(module: &mut Module, buffers: Buffers) -> Result<(), Refusal> {
    let types = Types::of(module);
    let globals: HashMap<Word, Word> = module
        .types_global_values
        .iter()
        .filter_map(|value| Some((value.result_id?, value.result_type?)))
        .collect();
    let functions = std::mem::take(&mut module.functions);
    let mut pass = Clamp {
        types: &types,
        buffers,
        values: globals,
        runtime_arrays: HashMap::new(),
        editor: Editor::new(module),
    };
    for function in functions {
        let function = pass.function(function)?;
        pass.editor.module.functions.push(function);
    }
    Ok(())
}

struct Clamp<'m> {
    types: &'m Types,
    buffers: Buffers,
    /// Type by value, of the module and of the function at hand.
    values: HashMap<Word, Word>,
    /// Pointers to arrays without a length: their structure and the member.
    runtime_arrays: HashMap<Word, (Word, u32)>,
    editor: Editor<'m>,
}

impl Clamp<'_> {
    fn function(&mut self, mut function: Function) -> Result<Function, Refusal> {
        for instruction in function.all_inst_iter() {
            if let (Some(value), Some(type_)) = (instruction.result_id, instruction.result_type) {
                self.values.insert(value, type_);
            }
        }
        for block in &mut function.blocks {
            let mut code = Vec::with_capacity(block.instructions.len());
            for mut instruction in std::mem::take(&mut block.instructions) {
                match instruction.class.opcode {
                    Op::AccessChain | Op::InBoundsAccessChain => {
                        self.chain(&mut instruction, &mut code)?;
                    }
                    Op::VectorExtractDynamic => self.component(&mut instruction, 1, &mut code)?,
                    Op::VectorInsertDynamic => self.component(&mut instruction, 2, &mut code)?,
                    _ => {}
                }
                code.push(instruction);
            }
            block.instructions = code;
        }
        Ok(function)
    }

    fn chain(
        &mut self,
        chain: &mut Instruction,
        code: &mut Vec<Instruction>,
    ) -> Result<(), Refusal> {
        let types = self.types;
        let base = operand(chain, 0);
        let Some((class, mut type_)) = self
            .values
            .get(&base)
            .and_then(|pointer| types.pointee(*pointer))
        else {
            return Err(unknown(chain));
        };
        let buffer = matches!(class, StorageClass::StorageBuffer | StorageClass::Uniform);
        let mut array = self.runtime_arrays.get(&base).copied();
        for at in 1..chain.operands.len() {
            let index = operand(chain, at);
            // The first step into an array of descriptors chooses the buffer, which no robustness covers.
            let chooses = at == 1 && is_descriptor_array(types, class, type_);
            let trusted = buffer && !chooses && self.buffers == Buffers::Robust;
            let (inner, length) = match types.get(type_) {
                Some(Type::Struct { members }) => {
                    let member = types.constants.unsigned(index);
                    let member = member.and_then(|member| u32::try_from(member).ok());
                    let inner = member.and_then(|member| {
                        members.get(member as usize).map(|inner| (member, *inner))
                    });
                    let (member, inner) = inner.ok_or_else(|| unknown(chain))?;
                    if matches!(types.get(inner), Some(Type::RuntimeArray { .. })) && !trusted {
                        let structure = self.prefix(chain, at, class, type_, code);
                        array = Some((structure, member));
                    }
                    type_ = inner;
                    continue;
                }
                Some(Type::RuntimeArray { element }) => {
                    if !trusted {
                        let (structure, member) = array.ok_or_else(|| unknown(chain))?;
                        let clamped = self.clamp_to_array(index, structure, member, code);
                        chain.operands[at] = id(clamped);
                    }
                    type_ = *element;
                    continue;
                }
                Some(Type::Array { element, length }) => {
                    let known = types.constants.unsigned(*length);
                    (*element, known.filter(|known| *known > 0))
                }
                Some(Type::Vector { component, count }) => (*component, Some(u64::from(*count))),
                Some(Type::Matrix { column, count }) => (*column, Some(u64::from(*count))),
                _ => return Err(unknown(chain)),
            };
            if !trusted {
                let length = length.ok_or(Refusal::Unresolved {
                    id: type_,
                    what: "length of an array",
                })?;
                chain.operands[at] = id(self.clamp(index, length, code));
            }
            type_ = inner;
        }
        if let (Some(result), Some(array)) = (chain.result_id, array)
            && matches!(types.get(type_), Some(Type::RuntimeArray { .. }))
        {
            self.runtime_arrays.insert(result, array);
        }
        Ok(())
    }

    /// The pointer that the first `end - 1` indices of a chain lead to.
    fn prefix(
        &mut self,
        chain: &Instruction,
        end: usize,
        class: StorageClass,
        type_: Word,
        code: &mut Vec<Instruction>,
    ) -> Word {
        if end == 1 {
            return operand(chain, 0);
        }
        let pointer = self.editor.pointer(class, type_);
        let operands = chain.operands[..end].to_vec();
        self.editor.emit(code, Op::AccessChain, pointer, operands)
    }

    fn component(
        &mut self,
        instruction: &mut Instruction,
        at: usize,
        code: &mut Vec<Instruction>,
    ) -> Result<(), Refusal> {
        let vector = self.values.get(&operand(instruction, 0));
        let Some(Type::Vector { count, .. }) = vector.and_then(|vector| self.types.get(*vector))
        else {
            return Err(unknown(instruction));
        };
        let count = u64::from(*count);
        let index = operand(instruction, at);
        instruction.operands[at] = id(self.clamp(index, count, code));
        Ok(())
    }

    /// `index`, or what keeps it below `length`.
    fn clamp(&mut self, index: Word, length: u64, code: &mut Vec<Instruction>) -> Word {
        let (type_, width_bits) = self.index_type(index);
        // Indices are signed whatever their type says, so half of the range is out of bounds.
        let positive = 1u64 << (width_bits.min(32) - 1);
        let constant = self.types.constants.unsigned(index);
        if constant.is_some_and(|value| value < length.min(positive)) {
            return index;
        }
        let (index, type_, width_bits) = self.widened(index, type_, width_bits, code);
        let last = (length - 1).min(u64::from(i32::MAX.unsigned_abs()));
        let last = if width_bits == 64 {
            self.editor.wide_constant(type_, last)
        } else {
            let last = u32::try_from(last).unwrap_or_default();
            self.editor.constant(type_, last)
        };
        if constant.is_some() {
            return last;
        }
        self.editor
            .apply_glsl(code, GlslStd450Op::UMin, type_, &[index, last])
    }

    /// `index` kept below the length of an array that only the device knows.
    fn clamp_to_array(
        &mut self,
        index: Word,
        structure: Word,
        member: u32,
        code: &mut Vec<Instruction>,
    ) -> Word {
        let uint = self.editor.uint();
        let (type_, width_bits) = self.index_type(index);
        let (mut index, _, width_bits) = self.widened(index, type_, width_bits, code);
        if width_bits == 64 {
            // Beyond 32 bits is beyond any array: what is cut off is made to be too large.
            let most = self.editor.wide_constant(type_, u64::from(u32::MAX));
            index = self
                .editor
                .apply_glsl(code, GlslStd450Op::UMin, type_, &[index, most]);
            index = self.editor.apply(code, Op::UConvert, uint, &[index]);
        }
        let length = self.editor.emit(
            code,
            Op::ArrayLength,
            uint,
            vec![id(structure), literal(member)],
        );
        let one = self.editor.number(1);
        // A binding shorter than one element still has a first one; the plain robustness covers it.
        let length = self
            .editor
            .apply_glsl(code, GlslStd450Op::UMax, uint, &[length, one]);
        let last = self.editor.apply(code, Op::ISub, uint, &[length, one]);
        self.editor
            .apply_glsl(code, GlslStd450Op::UMin, uint, &[index, last])
    }

    /// An index of 32 or 64 bits of the same value.
    fn widened(
        &mut self,
        index: Word,
        type_: Word,
        width_bits: u32,
        code: &mut Vec<Instruction>,
    ) -> (Word, Word, u32) {
        if width_bits >= 32 {
            return (index, type_, width_bits);
        }
        let uint = self.editor.uint();
        let wide = self.editor.apply(code, Op::SConvert, uint, &[index]);
        (wide, uint, 32)
    }

    fn index_type(&self, index: Word) -> (Word, u32) {
        let type_ = self.values.get(&index).copied().unwrap_or_default();
        let width_bits = self.types.integer_bits(type_).unwrap_or(32);
        (type_, width_bits.max(1))
    }
}

fn unknown(instruction: &Instruction) -> Refusal {
    Refusal::Instruction {
        opcode: instruction.class.opcode,
        id: instruction.result_id.unwrap_or_default(),
        reason: "what it indexes is not clear here; index a variable directly",
    }
}
