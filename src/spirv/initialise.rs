//! Nothing is read that was not written: variables without a value, undefined values, unreachable ends.
//!
//! Registers, scratch and workgroup memory hold what the last shader left there, which may have been another client's
//! ("LeftoverLocals", CVE-2023-4969). Zero costs nothing where a compiler sees the first store.

use crate::edit::{Editor, act, id};
use crate::refusal::Refusal;
use rspirv::dr::{Block, Function, Instruction, Module, Operand};
use rspirv::grammar::INSTRUCTION_TABLE;
use rspirv::spirv::{Op, StorageClass, Word};
use std::collections::HashMap;

/// Whether the device takes a zero initialiser of workgroup memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workgroup {
    /// VK_KHR_zero_initialize_workgroup_memory.
    Initialised,
    /// The wrapper of the entry point clears it.
    Cleared,
}

/// Gives every variable of the invocation, and of the workgroup if asked, a value; undefined ones become zero.
pub(crate) fn everything(module: &mut Module, workgroup: Workgroup) -> Result<(), Refusal> {
    let pointees: HashMap<Word, Word> = module
        .types_global_values
        .iter()
        .filter_map(|type_| match type_.operands.as_slice() {
            [Operand::StorageClass(_), Operand::IdRef(to)]
                if type_.class.opcode == Op::TypePointer =>
            {
                Some((type_.result_id?, *to))
            }
            _ => None,
        })
        .collect();
    define(module, &pointees)?;
    let mut editor = Editor::new(module);
    variables(&mut editor, &pointees, workgroup);
    for at in 0..editor.module.functions.len() {
        let mut function = std::mem::take(&mut editor.module.functions[at]);
        locals(&mut editor, &pointees, &mut function);
        close(&mut editor, &mut function);
        editor.module.functions[at] = function;
    }
    Ok(())
}

/// OpUndef becomes OpConstantNull of the same id, which lives with the other constants.
fn define(module: &mut Module, pointees: &HashMap<Word, Word>) -> Result<(), Refusal> {
    for value in &mut module.types_global_values {
        if value.class.opcode == Op::Undef {
            value.class = INSTRUCTION_TABLE.get(Op::ConstantNull);
        }
    }
    let mut defined = Vec::new();
    for block in module
        .functions
        .iter_mut()
        .flat_map(|function| &mut function.blocks)
    {
        block.instructions.retain(|instruction| {
            let undefined = instruction.class.opcode == Op::Undef;
            if undefined {
                defined.push(instruction.clone());
            }
            !undefined
        });
    }
    for mut value in defined {
        value.class = INSTRUCTION_TABLE.get(Op::ConstantNull);
        module.types_global_values.push(value);
    }
    let pointer = module.types_global_values.iter().find(|value| {
        value.class.opcode == Op::ConstantNull
            && value
                .result_type
                .is_some_and(|type_| pointees.contains_key(&type_))
    });
    match pointer {
        Some(pointer) => Err(Refusal::Instruction {
            opcode: pointer.class.opcode,
            id: pointer.result_id.unwrap_or_default(),
            reason: "a pointer must point at a variable; use one",
        }),
        None => Ok(()),
    }
}

/// Variables of module scope go behind the zeros that they begin with.
fn variables(editor: &mut Editor<'_>, pointees: &HashMap<Word, Word>, workgroup: Workgroup) {
    let values = std::mem::take(&mut editor.module.types_global_values);
    let (mut moved, kept): (Vec<_>, Vec<_>) = values.into_iter().partition(|value| {
        value.class.opcode == Op::Variable
            && match value.operands.as_slice() {
                [Operand::StorageClass(StorageClass::Private)] => true,
                [Operand::StorageClass(StorageClass::Workgroup)] => {
                    workgroup == Workgroup::Initialised
                }
                _ => false,
            }
    });
    editor.module.types_global_values = kept;
    for variable in &mut moved {
        zero(editor, pointees, variable);
    }
    editor.module.types_global_values.append(&mut moved);
}

fn locals(editor: &mut Editor<'_>, pointees: &HashMap<Word, Word>, function: &mut Function) {
    let Some(entry) = function.blocks.first_mut() else {
        return;
    };
    let written = written_first(entry);
    for variable in &mut entry.instructions {
        let bare = variable.class.opcode == Op::Variable && variable.operands.len() == 1;
        if bare && !variable.result_id.is_some_and(|id| written.contains(&id)) {
            zero(editor, pointees, variable);
        }
    }
}

/// Variables whose first use is a store of the whole in the block that declares them.
fn written_first(entry: &Block) -> Vec<Word> {
    let mut first: HashMap<Word, bool> = HashMap::new();
    for instruction in &entry.instructions {
        let stores = instruction.class.opcode == Op::Store;
        for (at, operand) in instruction.operands.iter().enumerate() {
            if let Some(id) = operand.id_ref_any() {
                first.entry(id).or_insert(stores && at == 0);
            }
        }
    }
    first
        .into_iter()
        .filter_map(|(id, stored)| stored.then_some(id))
        .collect()
}

fn zero(editor: &mut Editor<'_>, pointees: &HashMap<Word, Word>, variable: &mut Instruction) {
    if let Some(pointee) = variable.result_type.and_then(|type_| pointees.get(&type_)) {
        let null = editor.null(*pointee);
        variable.operands.push(id(null));
    }
}

/// OpUnreachable is a promise too: where it is reached after all, a driver's code may run into whatever follows.
fn close(editor: &mut Editor<'_>, function: &mut Function) {
    let result = function.def.as_ref().and_then(|def| def.result_type);
    let void = editor.void();
    for block in &mut function.blocks {
        if let Some(last) = block
            .instructions
            .last_mut()
            .filter(|last| last.class.opcode == Op::Unreachable)
        {
            *last = match result.filter(|type_| *type_ != void) {
                None => act(Op::Return, vec![]),
                Some(type_) => {
                    let null = editor.null(type_);
                    act(Op::ReturnValue, vec![id(null)])
                }
            };
        }
    }
}
