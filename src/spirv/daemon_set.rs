//! Descriptor set 1: what the daemon tells a shader and the shader the daemon.
//!
//! A client's module cannot name it: all its bindings are in set 0 by now. Binding 0 is a uniform buffer with a dynamic
//! offset, one [`constants`](DaemonSet::load_groups) block per dispatch: the number of workgroups of the whole grid, and
//! which word is this job's. Binding 1 is a storage buffer of words, one per job: the loop iterations that each
//! invocation may do, which a shader that used them up sets to 0 for those that come after it. It says so in the same
//! word of binding 2 too, which the engine reads.

use crate::code::index;
use crate::edit::{Editor, act, id, literal};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{BuiltIn, Decoration, MemoryAccess, Op, StorageClass, Word};

/// The number of the set.
pub const DAEMON_SET: u32 = 1;
/// Uniform buffer, dynamic offset: three words of workgroups, then the index of the job's word.
pub const CONSTANTS_BINDING: u32 = 0;
/// Storage buffer: budgets of loop iterations.
pub const WORDS_BINDING: u32 = 1;
/// Storage buffer: not 0 where a budget was used up.
pub const REPORTS_BINDING: u32 = 2;

/// Whether a prepared module uses the daemon's set.
#[must_use]
pub fn uses_daemon_set(words: &[u32]) -> bool {
    crate::scan::instructions(words).any(|instruction| match instruction {
        [first, _, decoration, DAEMON_SET] => {
            first & 0xffff == Op::Decorate as u32 && *decoration == Decoration::DescriptorSet as u32
        }
        _ => false,
    })
}

/// The set's variables, declared when first needed.
#[derive(Default)]
pub(crate) struct DaemonSet {
    constants: Option<Word>,
    /// Binding 1 as it is read, and as it is written.
    budgets: Option<Word>,
    words: Option<Word>,
    reports: Option<Word>,
}

impl DaemonSet {
    /// The workgroups of the whole grid, as a vector of three.
    pub(crate) fn load_groups(
        &mut self,
        editor: &mut Editor<'_>,
        code: &mut Vec<Instruction>,
    ) -> Word {
        let constants = self.constants(editor);
        let uint = editor.uint();
        let uint3 = editor.vector(uint, 3);
        let pointer = editor.pointer(StorageClass::Uniform, uint3);
        let place = index(editor, code, pointer, constants, &[0]);
        editor.emit(code, Op::Load, uint3, vec![id(place)])
    }

    /// This job's budget, read through a variable that nobody writes: so a driver knows that it is the same in all
    /// invocations of a subgroup, and with it what loops are charged and where they end. (On an H200 a loop over the
    /// same data for all takes half as long again when that is not known.) That it may be 0 all of a sudden only ends
    /// what ends anyway.
    pub(crate) fn load_budget(
        &mut self,
        editor: &mut Editor<'_>,
        code: &mut Vec<Instruction>,
    ) -> Word {
        let uint = editor.uint();
        let budgets = self.budgets(editor);
        let word = self.word(editor, code, budgets);
        editor.apply(code, Op::Load, uint, &[word])
    }

    /// Says that this job's budget is used up.
    pub(crate) fn store_used_up(&mut self, editor: &mut Editor<'_>, code: &mut Vec<Instruction>) {
        let (words, reports) = (self.words(editor), self.reports(editor));
        for (buffer, value) in [(words, 0), (reports, 1)] {
            let word = self.word(editor, code, buffer);
            let value = editor.number(value);
            let access = Operand::MemoryAccess(MemoryAccess::VOLATILE);
            code.push(act(Op::Store, vec![id(word), id(value), access]));
        }
    }

    /// A pointer to this job's word of a buffer.
    fn word(&mut self, editor: &mut Editor<'_>, code: &mut Vec<Instruction>, buffer: Word) -> Word {
        let constants = self.constants(editor);
        let uint = editor.uint();
        let in_constants = editor.pointer(StorageClass::Uniform, uint);
        let place = index(editor, code, in_constants, constants, &[1]);
        let number = editor.emit(code, Op::Load, uint, vec![id(place)]);
        let in_buffer = editor.pointer(StorageClass::StorageBuffer, uint);
        let zero = editor.number(0);
        editor.apply(code, Op::AccessChain, in_buffer, &[buffer, zero, number])
    }

    fn constants(&mut self, editor: &mut Editor<'_>) -> Word {
        if let Some(constants) = self.constants {
            return constants;
        }
        let uint = editor.uint();
        let uint3 = editor.vector(uint, 3);
        let block = block(editor, &[(uint3, 0), (uint, 12)]);
        let variable = variable(editor, StorageClass::Uniform, block, CONSTANTS_BINDING);
        self.constants = Some(variable);
        variable
    }

    fn budgets(&mut self, editor: &mut Editor<'_>) -> Word {
        *self.budgets.get_or_insert_with(|| {
            let budgets = numbers(editor, WORDS_BINDING);
            editor.decorate(budgets, Decoration::NonWritable, &[]);
            budgets
        })
    }

    fn words(&mut self, editor: &mut Editor<'_>) -> Word {
        *self
            .words
            .get_or_insert_with(|| numbers(editor, WORDS_BINDING))
    }

    fn reports(&mut self, editor: &mut Editor<'_>) -> Word {
        *self
            .reports
            .get_or_insert_with(|| numbers(editor, REPORTS_BINDING))
    }
}

/// A storage buffer of words.
fn numbers(editor: &mut Editor<'_>, binding: u32) -> Word {
    let uint = editor.uint();
    let array = editor.declare(Op::TypeRuntimeArray, None, vec![id(uint)]);
    editor.decorate(array, Decoration::ArrayStride, &[literal(4)]);
    let block = block(editor, &[(array, 0)]);
    variable(editor, StorageClass::StorageBuffer, block, binding)
}

fn block(editor: &mut Editor<'_>, members: &[(Word, u32)]) -> Word {
    let types = members.iter().map(|(type_, _)| id(*type_)).collect();
    let block = editor.declare(Op::TypeStruct, None, types);
    editor.decorate(block, Decoration::Block, &[]);
    for (member, (_, offset)) in (0u32..).zip(members) {
        editor.decorate_member(block, member, *offset);
    }
    block
}

fn variable(editor: &mut Editor<'_>, class: StorageClass, block: Word, binding: u32) -> Word {
    let variable = editor.variable(class, block, None);
    editor.decorate(variable, Decoration::DescriptorSet, &[literal(DAEMON_SET)]);
    editor.decorate(variable, Decoration::Binding, &[literal(binding)]);
    variable
}

/// The value of LocalInvocationIndex.
pub(crate) fn local_index(editor: &mut Editor<'_>, code: &mut Vec<Instruction>) -> Word {
    let uint = editor.uint();
    let variable = match input(editor, BuiltIn::LocalInvocationIndex) {
        Some(variable) => variable,
        None => {
            let variable = editor.variable(StorageClass::Input, uint, None);
            let built_in = Operand::BuiltIn(BuiltIn::LocalInvocationIndex);
            editor.decorate(variable, Decoration::BuiltIn, &[built_in]);
            variable
        }
    };
    // A client may have declared it as signed.
    let type_ = pointee(editor, variable).unwrap_or(uint);
    let loaded = editor.emit(code, Op::Load, type_, vec![id(variable)]);
    if type_ == uint {
        loaded
    } else {
        editor.apply(code, Op::Bitcast, uint, &[loaded])
    }
}

/// The variable that the client declared for a built-in.
pub(crate) fn input(editor: &Editor<'_>, built_in: BuiltIn) -> Option<Word> {
    let wanted = Operand::BuiltIn(built_in);
    let mut annotations = editor.module.annotations.iter();
    annotations.find_map(|annotation| match annotation.operands.as_slice() {
        [
            Operand::IdRef(variable),
            Operand::Decoration(Decoration::BuiltIn),
            found,
        ] if *found == wanted => Some(*variable),
        _ => None,
    })
}

/// What a variable of module scope holds.
pub(crate) fn pointee(editor: &Editor<'_>, variable: Word) -> Option<Word> {
    let values = &editor.module.types_global_values;
    let find = |wanted: Word| values.iter().find(|value| value.result_id == Some(wanted));
    match find(find(variable)?.result_type?)?.operands.as_slice() {
        [Operand::StorageClass(_), Operand::IdRef(to)] => Some(*to),
        _ => None,
    }
}
