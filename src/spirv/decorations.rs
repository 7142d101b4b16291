//! Decorations by what they decorate.

use rspirv::dr::{Module, Operand};
use rspirv::spirv::{BuiltIn, Decoration, Op, Word};
use std::collections::HashMap;

/// The decorations of a module, with the first literal of each (0 if it has none).
#[derive(Debug)]
pub(crate) struct Decorations {
    ids: HashMap<(Word, Decoration), u32>,
    members: HashMap<(Word, u32, Decoration), u32>,
}

impl Decorations {
    pub(crate) fn of(module: &Module) -> Self {
        let mut ids = HashMap::new();
        let mut members = HashMap::new();
        for annotation in &module.annotations {
            let operands = annotation.operands.as_slice();
            match (annotation.class.opcode, operands) {
                (
                    Op::Decorate,
                    [
                        Operand::IdRef(id),
                        Operand::Decoration(decoration),
                        rest @ ..,
                    ],
                ) => {
                    ids.insert((*id, *decoration), literal(rest));
                }
                (
                    Op::MemberDecorate,
                    [
                        Operand::IdRef(id),
                        Operand::LiteralBit32(member),
                        Operand::Decoration(decoration),
                        rest @ ..,
                    ],
                ) => {
                    members.insert((*id, *member, *decoration), literal(rest));
                }
                _ => {}
            }
        }
        Decorations { ids, members }
    }

    /// The literal of `decoration` on `id`.
    pub(crate) fn value(&self, id: Word, decoration: Decoration) -> Option<u32> {
        self.ids.get(&(id, decoration)).copied()
    }

    pub(crate) fn has(&self, id: Word, decoration: Decoration) -> bool {
        self.value(id, decoration).is_some()
    }

    /// The literal of `decoration` on a member of the structure `id`.
    pub(crate) fn member(&self, id: Word, member: u32, decoration: Decoration) -> Option<u32> {
        self.members.get(&(id, member, decoration)).copied()
    }

    /// The id that is decorated with `built_in`.
    pub(crate) fn built_in(&self, built_in: BuiltIn) -> Option<Word> {
        let wanted = built_in as u32;
        let mut found = self.ids.iter().filter(|((_, decoration), value)| {
            *decoration == Decoration::BuiltIn && **value == wanted
        });
        found.next().map(|((id, _), _)| *id)
    }
}

fn literal(rest: &[Operand]) -> u32 {
    match rest.first() {
        Some(Operand::LiteralBit32(value)) => *value,
        Some(Operand::BuiltIn(built_in)) => *built_in as u32,
        _ => 0,
    }
}
