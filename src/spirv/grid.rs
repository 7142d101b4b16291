//! A grid that can be cut: the number of workgroups comes from the daemon, not from the dispatch.
//!
//! `vkCmdDispatchBase` numbers workgroups from a base: WorkgroupId, and GlobalInvocationId with it, are those of the
//! whole grid (Vulkan 1.3, "Dispatching Commands"; built-ins WorkgroupId and GlobalInvocationId), and what is local to a
//! workgroup does not know of the grid. NumWorkgroups alone is the slice's, which breaks every grid-stride loop. It
//! becomes a private variable that the wrapper of the entry point fills.

use crate::edit::{Editor, id};
use crate::layout::Types;
use crate::refusal::Refusal;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{BuiltIn, Decoration, Op, StorageClass, Word};
use std::collections::HashSet;

/// Variables that hold the number of workgroups, with the types of what they hold.
pub(crate) fn make_private(editor: &mut Editor<'_>) -> Result<Vec<(Word, Word)>, Refusal> {
    let types = Types::of(editor.module);
    let found: HashSet<Word> = editor
        .module
        .annotations
        .iter()
        .filter_map(|annotation| match annotation.operands.as_slice() {
            [
                Operand::IdRef(variable),
                Operand::Decoration(Decoration::BuiltIn),
                Operand::BuiltIn(BuiltIn::NumWorkgroups),
            ] => Some(*variable),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut private = Vec::new();
    let values = std::mem::take(&mut editor.module.types_global_values);
    let (variables, kept): (Vec<_>, Vec<_>) = values
        .into_iter()
        .partition(|value| value.result_id.is_some_and(|id| found.contains(&id)));
    editor.module.types_global_values = kept;
    for mut variable in variables {
        let pointee = variable
            .result_type
            .and_then(|pointer| types.pointee(pointer));
        let (Some(id), Some((_, pointee))) = (variable.result_id, pointee) else {
            continue;
        };
        rewrite(editor, &mut variable, pointee);
        editor.module.types_global_values.push(variable);
        private.push((id, pointee));
    }
    editor
        .module
        .annotations
        .retain(|annotation| !names(annotation, &found));
    if !editor.lists_all_variables() {
        for entry in &mut editor.module.entry_points {
            entry.operands.retain(|operand| {
                operand
                    .id_ref_any()
                    .is_none_or(|variable| !found.contains(&variable))
            });
        }
    }
    follow(editor, &types, found)?;
    Ok(private)
}

fn rewrite(editor: &mut Editor<'_>, variable: &mut Instruction, pointee: Word) {
    variable.result_type = Some(editor.pointer(StorageClass::Private, pointee));
    let zero = editor.null(pointee);
    variable.operands = vec![Operand::StorageClass(StorageClass::Private), id(zero)];
}

fn names(annotation: &Instruction, ids: &HashSet<Word>) -> bool {
    let target = annotation.operands.first().and_then(Operand::id_ref_any);
    target.is_some_and(|target| ids.contains(&target))
}

/// Gives the pointers into these variables their new storage class.
fn follow(
    editor: &mut Editor<'_>,
    types: &Types,
    mut pointers: HashSet<Word>,
) -> Result<(), Refusal> {
    let mut functions = std::mem::take(&mut editor.module.functions);
    for instruction in functions
        .iter_mut()
        .flat_map(|function| &mut function.blocks)
        .flat_map(|block| &mut block.instructions)
    {
        let mut uses = instruction
            .operands
            .iter()
            .enumerate()
            .filter(|(_, operand)| {
                operand
                    .id_ref_any()
                    .is_some_and(|id| pointers.contains(&id))
            });
        let Some((at, _)) = uses.next() else { continue };
        match (instruction.class.opcode, at) {
            (Op::Load, 0) | (Op::CopyMemory, 1) => {}
            (Op::AccessChain | Op::InBoundsAccessChain | Op::CopyObject, 0) => {
                let pointee = instruction
                    .result_type
                    .and_then(|pointer| types.pointee(pointer));
                if let (Some(result), Some((_, pointee))) = (instruction.result_id, pointee) {
                    let pointer = editor.pointer(StorageClass::Private, pointee);
                    instruction.result_type = Some(pointer);
                    pointers.insert(result);
                }
            }
            (opcode, _) => {
                let reason = "NumWorkgroups can only be loaded here; pass its value on";
                let id = instruction.result_id.unwrap_or_default();
                return Err(Refusal::Instruction { opcode, id, reason });
            }
        }
    }
    editor.module.functions = functions;
    Ok(())
}
