//! Where the values of a function come from, and what does not change while a loop runs.

use crate::edit::Editor;
use crate::flow::Flow;
use crate::layout::{Type, Types};
use rspirv::dr::{Function, Instruction, Operand};
use rspirv::spirv::{Decoration, GlslStd450Op, MemoryAccess, Op, StorageClass, Word};
use std::collections::HashMap;

/// What is known of a function and of the module around it.
pub(crate) struct Facts<'f> {
    pub(crate) function: &'f Function,
    pub(crate) flow: &'f Flow,
    pub(crate) types: &'f Types,
    /// Block and place in it.
    definitions: HashMap<Word, (usize, usize)>,
    /// Local variables that are loaded and stored as a whole and in no other way, with their stores.
    locals: HashMap<Word, Vec<(usize, usize)>>,
    /// Type by value, of module scope too.
    values: HashMap<Word, Word>,
}

impl<'f> Facts<'f> {
    pub(crate) fn of(
        function: &'f Function,
        flow: &'f Flow,
        types: &'f Types,
        globals: &HashMap<Word, Word>,
    ) -> Self {
        let mut facts = Facts {
            function,
            flow,
            types,
            definitions: HashMap::new(),
            locals: HashMap::new(),
            values: globals.clone(),
        };
        for parameter in &function.parameters {
            if let (Some(id), Some(type_)) = (parameter.result_id, parameter.result_type) {
                facts.values.insert(id, type_);
            }
        }
        for (at, block) in function.blocks.iter().enumerate() {
            for (place, instruction) in block.instructions.iter().enumerate() {
                let Some(id) = instruction.result_id else {
                    continue;
                };
                facts.definitions.insert(id, (at, place));
                if let Some(type_) = instruction.result_type {
                    facts.values.insert(id, type_);
                }
                if instruction.class.opcode == Op::Variable {
                    facts.locals.insert(id, Vec::new());
                }
            }
        }
        for (at, block) in function.blocks.iter().enumerate() {
            for (place, instruction) in block.instructions.iter().enumerate() {
                facts.note_uses(instruction, (at, place));
            }
        }
        facts
    }

    fn note_uses(&mut self, instruction: &Instruction, at: (usize, usize)) {
        for (number, operand) in instruction.operands.iter().enumerate() {
            let Some(id) = operand.id_ref_any() else {
                continue;
            };
            match (instruction.class.opcode, number) {
                (Op::Load, 0) => {}
                (Op::Store, 0) => {
                    if let Some(stores) = self.locals.get_mut(&id) {
                        stores.push(at);
                    }
                }
                _ => drop(self.locals.remove(&id)),
            }
        }
    }

    /// The instruction that makes a value, and its block; `None` for what is of module scope or a parameter.
    pub(crate) fn definition(&self, value: Word) -> Option<(usize, &'f Instruction)> {
        let &(block, place) = self.definitions.get(&value)?;
        Some((block, &self.function.blocks[block].instructions[place]))
    }

    /// The same, if it has this opcode.
    pub(crate) fn made_by(&self, value: Word, opcode: Op) -> Option<(usize, &'f Instruction)> {
        self.definition(value)
            .filter(|(_, instruction)| instruction.class.opcode == opcode)
    }

    /// Place of a value in its block.
    pub(crate) fn place(&self, value: Word) -> Option<(usize, usize)> {
        self.definitions.get(&value).copied()
    }

    /// The stores of a local variable that is only loaded and stored as a whole.
    pub(crate) fn stores(&self, variable: Word) -> Option<&[(usize, usize)]> {
        self.locals.get(&variable).map(Vec::as_slice)
    }

    pub(crate) fn type_of(&self, value: Word) -> Option<Word> {
        self.values.get(&value).copied()
    }

    /// Whether a value is a 32-bit integer.
    pub(crate) fn is_int32(&self, value: Word) -> bool {
        let type_ = self.type_of(value);
        type_.and_then(|type_| self.types.integer_bits(type_)) == Some(32)
    }

    pub(crate) fn constant(&self, value: Word) -> Option<u32> {
        let value = self.types.constants.unsigned(value)?;
        u32::try_from(value).ok()
    }

    /// Whether a value is the same whenever the loop looks at it, and can be had before it.
    pub(crate) fn is_invariant(&self, value: Word, inside: usize) -> bool {
        self.is_invariant_within(value, inside, MAX_DEPTH)
    }

    fn is_invariant_within(&self, value: Word, inside: usize, depth: usize) -> bool {
        let Some((block, instruction)) = self.definition(value) else {
            return self.type_of(value).is_some();
        };
        if !self.flow.is_in(block, inside) {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        let all = |operands: &[Operand]| {
            operands
                .iter()
                .filter_map(Operand::id_ref_any)
                .all(|id| self.is_invariant_within(id, inside, depth))
        };
        match instruction.class.opcode {
            Op::Load => {
                let pointer = operand(instruction, 0);
                let plain = !instruction.operands.iter().any(|operand| {
                    matches!(operand, Operand::MemoryAccess(access) if access.contains(MemoryAccess::VOLATILE))
                });
                plain && self.is_constant_memory(pointer, inside, depth)
            }
            Op::ExtInst => {
                let pure = matches!(
                    instruction.operands.get(1),
                    Some(Operand::LiteralExtInstInteger(operation)) if PURE_GLSL.iter().any(|pure| *pure as u32 == *operation)
                );
                pure && all(instruction.operands.get(2..).unwrap_or_default())
            }
            opcode if PURE.contains(&opcode) => all(&instruction.operands),
            _ => false,
        }
    }

    /// Whether nothing changes what a pointer points at while the loop runs.
    fn is_constant_memory(&self, pointer: Word, inside: usize, depth: usize) -> bool {
        if let Some((_, chain)) = self
            .made_by(pointer, Op::AccessChain)
            .or_else(|| self.made_by(pointer, Op::InBoundsAccessChain))
        {
            let steps = chain.operands.iter().skip(1);
            return self.is_read_only(operand(chain, 0))
                && steps
                    .filter_map(Operand::id_ref_any)
                    .all(|step| self.is_invariant_within(step, inside, depth));
        }
        if let Some(stores) = self.stores(pointer) {
            return !stores
                .iter()
                .any(|(block, _)| self.flow.is_in(*block, inside));
        }
        self.is_read_only(pointer)
    }

    fn is_read_only(&self, variable: Word) -> bool {
        if self.definition(variable).is_some() {
            return false;
        }
        let pointee = self
            .type_of(variable)
            .and_then(|pointer| self.types.pointee(pointer));
        match pointee {
            Some((StorageClass::PushConstant | StorageClass::Input, _)) => true,
            Some((StorageClass::Uniform, block)) => {
                matches!(self.types.get(block), Some(Type::Struct { .. }))
                    && !self.types.decorations.has(block, Decoration::BufferBlock)
            }
            _ => false,
        }
    }

    /// Whether a value comes from constants, push constants and built-ins alone, which nothing changes while a dispatch
    /// runs. A driver may read a uniform buffer again where a value of it is used, and find another one.
    pub(crate) fn is_fixed(&self, value: Word) -> bool {
        self.is_fixed_within(value, MAX_DEPTH)
    }

    fn is_fixed_within(&self, value: Word, depth: usize) -> bool {
        let Some((_, instruction)) = self.definition(value) else {
            return self.types.constants.unsigned(value).is_some();
        };
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        match instruction.class.opcode {
            Op::Load => {
                let pointer = operand(instruction, 0);
                if let Some([(block, place)]) = self.stores(pointer) {
                    let store = &self.function.blocks[*block].instructions[*place];
                    return self.is_fixed_within(operand(store, 1), depth);
                }
                let chain = self.definition(pointer);
                let root = chain.map_or(pointer, |(_, chain)| operand(chain, 0));
                self.is_read_only(root) && !self.is_in_buffer(root)
            }
            Op::AccessChain | Op::InBoundsAccessChain => false,
            opcode if PURE.contains(&opcode) => {
                let mut ids = instruction.operands.iter().filter_map(Operand::id_ref_any);
                ids.all(|id| self.is_fixed_within(id, depth))
            }
            _ => false,
        }
    }

    fn is_in_buffer(&self, variable: Word) -> bool {
        let pointee = self
            .type_of(variable)
            .and_then(|pointer| self.types.pointee(pointer));
        matches!(pointee, Some((StorageClass::Uniform, _)))
    }

    /// Code for an invariant value before the loop; values from outside stand for themselves.
    pub(crate) fn hoist(
        &self,
        editor: &mut Editor<'_>,
        code: &mut Vec<Instruction>,
        value: Word,
        inside: usize,
    ) -> Word {
        match self.definition(value) {
            Some((block, instruction)) if self.flow.is_in(block, inside) => {
                let mut copy = instruction.clone();
                for operand in &mut copy.operands {
                    if let Operand::IdRef(id) = operand {
                        *id = self.hoist(editor, code, *id, inside);
                    }
                }
                if copy.class.opcode == Op::Load {
                    // Read once: what is compared has to be what was charged.
                    copy.operands.truncate(1);
                    copy.operands
                        .push(Operand::MemoryAccess(MemoryAccess::VOLATILE));
                }
                let new = editor.id();
                copy.result_id = Some(new);
                code.push(copy);
                new
            }
            _ => value,
        }
    }
}

/// The id at a place of an instruction's operands; 0, which is no id, where there is none.
pub(crate) fn operand(instruction: &Instruction, at: usize) -> Word {
    let operand = instruction.operands.get(at);
    operand.and_then(Operand::id_ref_any).unwrap_or_default()
}

/// Operations whose result depends on their operands only.
const PURE: [Op; 18] = [
    Op::AccessChain,
    Op::InBoundsAccessChain,
    Op::IAdd,
    Op::ISub,
    Op::IMul,
    Op::UDiv,
    Op::SDiv,
    Op::UMod,
    Op::ShiftLeftLogical,
    Op::ShiftRightLogical,
    Op::BitwiseAnd,
    Op::BitwiseOr,
    Op::BitwiseXor,
    Op::Bitcast,
    Op::UConvert,
    Op::CompositeExtract,
    Op::CopyObject,
    Op::Select,
];

const PURE_GLSL: [GlslStd450Op; 6] = [
    GlslStd450Op::UMin,
    GlslStd450Op::SMin,
    GlslStd450Op::UMax,
    GlslStd450Op::SMax,
    GlslStd450Op::UClamp,
    GlslStd450Op::SClamp,
];

/// Longer expressions are not worth their copy.
const MAX_DEPTH: usize = 12;
