//! Straight code with simple control flow, for what passes put around a client's.

use crate::edit::{Editor, act, id};
use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::{FunctionControl, LoopControl, Op, SelectionControl, Word};

/// Blocks of a function that is being written: those that are closed, and one that is open.
pub(crate) struct Code {
    blocks: Vec<Block>,
    label: Word,
    pub(crate) open: Vec<Instruction>,
}

impl Code {
    pub(crate) fn new(editor: &mut Editor<'_>) -> Self {
        Code {
            blocks: Vec::new(),
            label: editor.id(),
            open: Vec::new(),
        }
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.open.is_empty()
    }

    /// Runs `body` where `condition` holds.
    pub(crate) fn when(
        &mut self,
        editor: &mut Editor<'_>,
        condition: Word,
        body: impl FnOnce(&mut Editor<'_>, &mut Code),
    ) {
        let (inside, after) = (editor.id(), editor.id());
        let none = Operand::SelectionControl(SelectionControl::NONE);
        self.open
            .push(act(Op::SelectionMerge, vec![id(after), none]));
        let branch = vec![id(condition), id(inside), id(after)];
        self.close(act(Op::BranchConditional, branch), inside);
        body(editor, self);
        self.close(branch_to(after), after);
    }

    /// Runs `body` for `first`, `first + step` and so on below `end`; all are unsigned.
    pub(crate) fn each(
        &mut self,
        editor: &mut Editor<'_>,
        (first, end, step): (Word, Word, Word),
        body: impl FnOnce(&mut Editor<'_>, &mut Code, Word),
    ) {
        let (uint, bool) = (editor.uint(), editor.bool());
        let [header, test, inside, next, after, index, following] = [(); 7].map(|()| editor.id());
        let before = self.label;
        self.close(branch_to(header), header);
        let incoming = vec![id(first), id(before), id(following), id(next)];
        self.open
            .push(Instruction::new(Op::Phi, Some(uint), Some(index), incoming));
        let none = Operand::LoopControl(LoopControl::NONE);
        self.open
            .push(act(Op::LoopMerge, vec![id(after), id(next), none]));
        self.close(branch_to(test), test);
        let below = editor.apply(&mut self.open, Op::ULessThan, bool, &[index, end]);
        let branch = vec![id(below), id(inside), id(after)];
        self.close(act(Op::BranchConditional, branch), inside);
        body(editor, self, index);
        self.close(branch_to(next), next);
        let sum = vec![id(index), id(step)];
        self.open
            .push(Instruction::new(Op::IAdd, Some(uint), Some(following), sum));
        self.close(branch_to(header), after);
    }

    /// Waits for the workgroup; its writes to workgroup memory are seen.
    pub(crate) fn barrier(&mut self, editor: &mut Editor<'_>) {
        let workgroup = editor.number(SCOPE_WORKGROUP);
        let semantics = editor.number(ACQUIRE_RELEASE_WORKGROUP);
        let operands = vec![
            Operand::IdScope(workgroup),
            Operand::IdScope(workgroup),
            Operand::IdMemorySemantics(semantics),
        ];
        self.open.push(act(Op::ControlBarrier, operands));
    }

    /// All blocks; the last one returns.
    pub(crate) fn finish(mut self) -> Vec<Block> {
        self.close(act(Op::Return, vec![]), 0);
        self.blocks
    }

    fn close(&mut self, terminator: Instruction, next: Word) {
        self.open.push(terminator);
        self.blocks
            .push(block(self.label, std::mem::take(&mut self.open)));
        self.label = next;
    }
}

/// A function of result and function type `types`.
pub(crate) fn function(
    name: Word,
    (result, type_): (Word, Word),
    parameters: Vec<Instruction>,
    blocks: Vec<Block>,
) -> Function {
    let control = Operand::FunctionControl(FunctionControl::NONE);
    Function {
        def: Some(Instruction::new(
            Op::Function,
            Some(result),
            Some(name),
            vec![control, id(type_)],
        )),
        end: Some(act(Op::FunctionEnd, vec![])),
        parameters,
        blocks,
    }
}

pub(crate) fn block(label: Word, instructions: Vec<Instruction>) -> Block {
    Block {
        label: Some(Instruction::new(Op::Label, None, Some(label), vec![])),
        instructions,
    }
}

pub(crate) fn branch_to(label: Word) -> Instruction {
    act(Op::Branch, vec![id(label)])
}

pub(crate) fn store(code: &mut Vec<Instruction>, pointer: Word, value: Word) {
    code.push(act(Op::Store, vec![id(pointer), id(value)]));
}

pub(crate) fn index(
    editor: &mut Editor<'_>,
    code: &mut Vec<Instruction>,
    type_: Word,
    base: Word,
    steps: &[u32],
) -> Word {
    let mut operands = vec![id(base)];
    for step in steps {
        operands.push(id(editor.number(*step)));
    }
    editor.emit(code, Op::AccessChain, type_, operands)
}

const SCOPE_WORKGROUP: u32 = 2;
/// AcquireRelease | WorkgroupMemory.
const ACQUIRE_RELEASE_WORKGROUP: u32 = 0x8 | 0x100;
