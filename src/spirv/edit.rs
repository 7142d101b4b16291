//! Adding to a module: fresh ids, and types and constants that exist once.

use rspirv::dr::{Instruction, Module, ModuleHeader, Operand};
use rspirv::spirv::{Decoration, GlslStd450Op, Op, StorageClass, Word};
use std::collections::HashMap;

/// A module under a pass. What is declared goes to the end of the module's types and values.
pub(crate) struct Editor<'m> {
    pub(crate) module: &'m mut Module,
    /// Types and constants by what they are; SPIR-V allows most types only once.
    known: HashMap<(Op, Option<Word>, Vec<Operand>), Word>,
    /// The id of GLSL.std.450.
    glsl: Option<Word>,
}

impl<'m> Editor<'m> {
    pub(crate) fn new(module: &'m mut Module) -> Self {
        let mut known = HashMap::new();
        for value in &module.types_global_values {
            if let Some(id) = value.result_id.filter(|_| is_shared(value.class.opcode)) {
                let key = (
                    value.class.opcode,
                    value.result_type,
                    value.operands.clone(),
                );
                known.entry(key).or_insert(id);
            }
        }
        // The gate leaves no other set.
        let glsl = module
            .ext_inst_imports
            .first()
            .and_then(|import| import.result_id);
        Editor {
            module,
            known,
            glsl,
        }
    }

    /// An id that nothing has.
    pub(crate) fn id(&mut self) -> Word {
        let header = self
            .module
            .header
            .get_or_insert_with(|| ModuleHeader::new(1));
        header.bound += 1;
        header.bound - 1
    }

    pub(crate) fn void(&mut self) -> Word {
        self.shared(Op::TypeVoid, None, vec![])
    }

    pub(crate) fn bool(&mut self) -> Word {
        self.shared(Op::TypeBool, None, vec![])
    }

    /// Unsigned 32-bit integers, which most of what passes add is made of.
    pub(crate) fn uint(&mut self) -> Word {
        self.shared(Op::TypeInt, None, vec![literal(32), literal(0)])
    }

    pub(crate) fn vector(&mut self, component: Word, count: u32) -> Word {
        self.shared(Op::TypeVector, None, vec![id(component), literal(count)])
    }

    pub(crate) fn pointer(&mut self, class: StorageClass, to: Word) -> Word {
        self.shared(
            Op::TypePointer,
            None,
            vec![Operand::StorageClass(class), id(to)],
        )
    }

    /// The type of functions with these parameters and without result.
    pub(crate) fn procedure(&mut self, parameters: &[Word]) -> Word {
        let void = self.void();
        let types = [&[void], parameters].concat();
        let types = types.into_iter().map(id).collect();
        self.shared(Op::TypeFunction, None, types)
    }

    /// A 32-bit constant of type [`Editor::uint`].
    pub(crate) fn number(&mut self, value: u32) -> Word {
        let uint = self.uint();
        self.constant(uint, value)
    }

    /// A constant of a 32-bit integer type.
    pub(crate) fn constant(&mut self, type_: Word, value: u32) -> Word {
        self.shared(Op::Constant, Some(type_), vec![literal(value)])
    }

    /// A constant of a 64-bit integer type.
    pub(crate) fn wide_constant(&mut self, type_: Word, value: u64) -> Word {
        self.shared(
            Op::Constant,
            Some(type_),
            vec![Operand::LiteralBit64(value)],
        )
    }

    pub(crate) fn yes(&mut self) -> Word {
        let bool = self.bool();
        self.shared(Op::ConstantTrue, Some(bool), vec![])
    }

    /// Zero of any type.
    pub(crate) fn null(&mut self, type_: Word) -> Word {
        self.shared(Op::ConstantNull, Some(type_), vec![])
    }

    /// A declaration that is like no other: a structure, an array, a variable.
    pub(crate) fn declare(
        &mut self,
        opcode: Op,
        type_: Option<Word>,
        operands: Vec<Operand>,
    ) -> Word {
        let new = self.id();
        self.module
            .types_global_values
            .push(Instruction::new(opcode, type_, Some(new), operands));
        new
    }

    /// A variable of module scope, in the interface of the entry point where this version of SPIR-V wants it there.
    pub(crate) fn variable(
        &mut self,
        class: StorageClass,
        type_: Word,
        initial: Option<Word>,
    ) -> Word {
        let pointer = self.pointer(class, type_);
        let mut operands = vec![Operand::StorageClass(class)];
        operands.extend(initial.map(id));
        let variable = self.declare(Op::Variable, Some(pointer), operands);
        if class == StorageClass::Input || self.lists_all_variables() {
            for entry in &mut self.module.entry_points {
                entry.operands.push(id(variable));
            }
        }
        variable
    }

    /// From SPIR-V 1.4 on the interface lists variables of all storage classes, before that inputs only.
    pub(crate) fn lists_all_variables(&self) -> bool {
        self.module
            .header
            .as_ref()
            .is_some_and(|header| header.version() >= (1, 4))
    }

    pub(crate) fn decorate(&mut self, target: Word, decoration: Decoration, rest: &[Operand]) {
        let mut operands = vec![id(target), Operand::Decoration(decoration)];
        operands.extend_from_slice(rest);
        self.module
            .annotations
            .push(Instruction::new(Op::Decorate, None, None, operands));
    }

    pub(crate) fn decorate_member(&mut self, structure: Word, member: u32, offset: u32) {
        let operands = vec![
            id(structure),
            literal(member),
            Operand::Decoration(Decoration::Offset),
            literal(offset),
        ];
        self.module
            .annotations
            .push(Instruction::new(Op::MemberDecorate, None, None, operands));
    }

    /// Appends an instruction with a result to `code`.
    pub(crate) fn emit(
        &mut self,
        code: &mut Vec<Instruction>,
        opcode: Op,
        type_: Word,
        operands: Vec<Operand>,
    ) -> Word {
        let result = self.id();
        code.push(Instruction::new(
            opcode,
            Some(type_),
            Some(result),
            operands,
        ));
        result
    }

    /// The same for an operation over ids.
    pub(crate) fn apply(
        &mut self,
        code: &mut Vec<Instruction>,
        opcode: Op,
        type_: Word,
        operands: &[Word],
    ) -> Word {
        self.emit(
            code,
            opcode,
            type_,
            operands.iter().copied().map(id).collect(),
        )
    }

    /// The same for an instruction of GLSL.std.450.
    pub(crate) fn apply_glsl(
        &mut self,
        code: &mut Vec<Instruction>,
        operation: GlslStd450Op,
        type_: Word,
        operands: &[Word],
    ) -> Word {
        let set = match self.glsl {
            Some(set) => set,
            None => self.import(),
        };
        let mut all = vec![id(set), Operand::LiteralExtInstInteger(operation as u32)];
        all.extend(operands.iter().copied().map(id));
        self.emit(code, Op::ExtInst, type_, all)
    }

    fn import(&mut self) -> Word {
        let set = self.id();
        let name = vec![Operand::LiteralString("GLSL.std.450".to_owned())];
        self.module.ext_inst_imports.push(Instruction::new(
            Op::ExtInstImport,
            None,
            Some(set),
            name,
        ));
        self.glsl = Some(set);
        set
    }

    fn shared(&mut self, opcode: Op, type_: Option<Word>, operands: Vec<Operand>) -> Word {
        let key = (opcode, type_, operands);
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let new = self.declare(opcode, type_, key.2.clone());
        self.known.insert(key, new);
        new
    }
}

pub(crate) fn id(id: Word) -> Operand {
    Operand::IdRef(id)
}

pub(crate) fn literal(value: u32) -> Operand {
    Operand::LiteralBit32(value)
}

/// An instruction without a result.
pub(crate) fn act(opcode: Op, operands: Vec<Operand>) -> Instruction {
    Instruction::new(opcode, None, None, operands)
}

/// Arrays and structures may exist several times, with decorations of their own; specialization constants are not
/// worth the search.
fn is_shared(opcode: Op) -> bool {
    matches!(
        opcode,
        Op::TypeVoid
            | Op::TypeBool
            | Op::TypeInt
            | Op::TypeFloat
            | Op::TypeVector
            | Op::TypePointer
            | Op::TypeFunction
            | Op::Constant
            | Op::ConstantTrue
            | Op::ConstantNull
    )
}
