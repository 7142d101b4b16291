//! Which functions an entry point reaches.

use rspirv::dr::{Function, Instruction, Module, Operand};
use rspirv::spirv::{Op, Word};
use std::collections::HashMap;

/// The functions that `entry` reaches, itself included, as ids; callees come before their callers.
///
/// Vulkan forbids recursion and the validator checks it; with a cycle the order would be wrong, but finite.
pub(crate) fn callees_first(module: &Module, entry: Word) -> Vec<Word> {
    let by_id: HashMap<Word, &Function> = module
        .functions
        .iter()
        .filter_map(|function| Some((function.def_id()?, function)))
        .collect();
    let callees = |id: Word| {
        by_id
            .get(&id)
            .map(|function| callees_of(function))
            .unwrap_or_default()
    };
    let mut order = Vec::new();
    let mut seen = std::collections::HashSet::from([entry]);
    // An explicit stack of (function, callees still to visit): call chains may be long.
    let mut open = vec![(entry, callees(entry))];
    while let Some((id, rest)) = open.last_mut() {
        match rest.pop() {
            Some(callee) if seen.insert(callee) => open.push((callee, callees(callee))),
            Some(_) => {}
            None => {
                order.push(*id);
                open.pop();
            }
        }
    }
    order
}

/// The function that a call instruction calls.
pub(crate) fn callee(instruction: &Instruction) -> Option<Word> {
    match (instruction.class.opcode, instruction.operands.first()) {
        (Op::FunctionCall, Some(Operand::IdRef(id))) => Some(*id),
        _ => None,
    }
}

fn callees_of(function: &Function) -> Vec<Word> {
    function.all_inst_iter().filter_map(callee).collect()
}
