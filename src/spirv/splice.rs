//! Putting code into a function without changing how control flows through it.

use crate::code::{block, branch_to};
use crate::edit::{Editor, act, id};
use crate::flow::{Flow, end_of, label};
use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::{Op, Word};
use std::collections::{HashMap, HashSet};

/// What is to be put where; blocks are named by their place.
#[derive(Default)]
pub(crate) struct Splices {
    /// Before a loop, once each time it is entered.
    pub(crate) before_loop: HashMap<usize, Vec<Instruction>>,
    /// Behind the phis of a block.
    pub(crate) at_start: HashMap<usize, Vec<Instruction>>,
    /// Before the branch of a block, and before the merge instruction that belongs to it.
    pub(crate) at_end: HashMap<usize, Vec<Instruction>>,
    /// What a block branches on.
    pub(crate) conditions: HashMap<usize, Word>,
    /// Operands of instructions, by their results.
    pub(crate) operands: HashMap<Word, (usize, Word)>,
    /// Loop headers that are left for good unless this holds, once their instructions are done.
    pub(crate) ways_out: HashMap<usize, Word>,
}

/// Where code goes that comes before what is there already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    BeforeLoop(usize),
    Start(usize),
    End(usize),
}

impl Splices {
    /// Puts code to a place, before what was put there.
    pub(crate) fn put(&mut self, place: Place, code: Vec<Instruction>) {
        let (list, block) = match place {
            Place::BeforeLoop(block) => (&mut self.before_loop, block),
            Place::Start(block) => (&mut self.at_start, block),
            Place::End(block) => (&mut self.at_end, block),
        };
        list.entry(block).or_default().splice(0..0, code);
    }

    /// Rewrites the function, of which `flow` is the flow.
    pub(crate) fn apply(
        mut self,
        editor: &mut Editor<'_>,
        flow: &Flow,
        function: &mut Function,
        leave: &[Instruction],
    ) {
        let blocks = std::mem::take(&mut function.blocks);
        // Labels of the blocks whose branch is not under their own label any more.
        let mut branches_from: HashMap<Word, Word> = HashMap::new();
        let mut headers: HashMap<Word, Word> = HashMap::new();
        for found in &flow.loops {
            let own = flow.labels[found.header];
            if self.before_loop.contains_key(&found.header) {
                let new = editor.id();
                headers.insert(own, new);
                branches_from.insert(own, new);
            }
            if self.ways_out.contains_key(&found.header) {
                branches_from.insert(own, editor.id());
            }
        }
        let latches: HashMap<usize, usize> = flow
            .loops
            .iter()
            .map(|found| (found.header, found.latch))
            .collect();
        let backward: HashSet<(Word, Word)> = flow
            .loops
            .iter()
            .map(|found| (flow.labels[found.latch], flow.labels[found.header]))
            .collect();
        for (at, mut found) in blocks.into_iter().enumerate() {
            let own = label(&found);
            self.inside(at, &mut found);
            for instruction in &mut found.instructions {
                retarget(instruction, own, &headers, &branches_from, &backward);
            }
            if let (Some(code), Some(&header)) = (self.before_loop.remove(&at), headers.get(&own)) {
                let latch = latches.get(&at).map(|latch| flow.labels[*latch]);
                let latch = latch.map(|latch| *branches_from.get(&latch).unwrap_or(&latch));
                let before = enter(editor, &mut found, own, header, latch, code);
                function.blocks.push(before);
            }
            match self.ways_out.remove(&at) {
                Some(condition) => {
                    let rest = branches_from.get(&own).copied().unwrap_or_default();
                    function
                        .blocks
                        .extend(leave_unless(editor, found, condition, rest, leave));
                }
                None => function.blocks.push(found),
            }
        }
    }

    /// All that happens within one block.
    fn inside(&mut self, at: usize, block: &mut Block) {
        for instruction in &mut block.instructions {
            let change = instruction.result_id.and_then(|id| self.operands.get(&id));
            if let Some((place, value)) = change
                && let Some(operand) = instruction.operands.get_mut(*place)
            {
                *operand = id(*value);
            }
        }
        if let (Some(condition), Some(last)) =
            (self.conditions.get(&at), block.instructions.last_mut())
            && let Some(operand) = last.operands.first_mut()
        {
            *operand = id(*condition);
        }
        if let Some(code) = self.at_end.remove(&at) {
            let end = end_of(&block.instructions);
            block.instructions.splice(end..end, code);
        }
        if let Some(code) = self.at_start.remove(&at) {
            let phis = block.instructions.iter();
            let phis = phis
                .take_while(|found| found.class.opcode == Op::Phi)
                .count();
            block.instructions.splice(phis..phis, code);
        }
    }
}

/// Lets phis name where branches come from now, and branches back lead to where headers are now.
fn retarget(
    instruction: &mut Instruction,
    own: Word,
    headers: &HashMap<Word, Word>,
    branches_from: &HashMap<Word, Word>,
    backward: &HashSet<(Word, Word)>,
) {
    let rename = |operand: &mut Operand, names: &HashMap<Word, Word>| {
        if let Operand::IdRef(label) = operand
            && let Some(new) = names.get(label)
        {
            *label = *new;
        }
    };
    match instruction.class.opcode {
        Op::Phi => {
            for parent in instruction.operands.iter_mut().skip(1).step_by(2) {
                rename(parent, branches_from);
            }
        }
        Op::Branch | Op::BranchConditional | Op::Switch => {
            for target in &mut instruction.operands {
                if let Operand::IdRef(label) = target
                    && backward.contains(&(own, *label))
                {
                    rename(target, headers);
                }
            }
        }
        // A loop of one block continues at itself.
        Op::LoopMerge => {
            if let Some(target) = instruction.operands.get_mut(1)
                && target.id_ref_any() == Some(own)
            {
                rename(target, branches_from);
            }
        }
        _ => {}
    }
}

/// A block in front of a loop that has its old label, so that all who came to the header come to it.
fn enter(
    editor: &mut Editor<'_>,
    block_: &mut Block,
    own: Word,
    header: Word,
    latch: Option<Word>,
    code: Vec<Instruction>,
) -> Block {
    let mut before = Vec::new();
    for phi in &mut block_.instructions {
        if phi.class.opcode != Op::Phi {
            break;
        }
        let (mut back, mut outside) = (Vec::new(), Vec::new());
        for pair in phi.operands.chunks_exact(2) {
            let from_latch = latch.is_some() && pair[1].id_ref_any() == latch;
            if from_latch { &mut back } else { &mut outside }.extend_from_slice(pair);
        }
        let value = match outside.as_slice() {
            [value, _] => value.clone(),
            _ => {
                let merged = editor.id();
                before.push(Instruction::new(
                    Op::Phi,
                    phi.result_type,
                    Some(merged),
                    outside,
                ));
                id(merged)
            }
        };
        phi.operands = vec![value, id(own)];
        phi.operands.extend(back);
    }
    before.extend(code);
    before.push(branch_to(header));
    block_.label = Some(Instruction::new(Op::Label, None, Some(header), vec![]));
    block(own, before)
}

/// The header, which returns unless `condition` holds, and what it did at its end as block `rest`.
fn leave_unless(
    editor: &mut Editor<'_>,
    mut header: Block,
    condition: Word,
    rest: Word,
    leave: &[Instruction],
) -> [Block; 3] {
    let out = editor.id();
    let last = header.instructions.pop();
    let branch = vec![id(condition), id(rest), id(out)];
    header.instructions.push(act(Op::BranchConditional, branch));
    [
        header,
        block(out, leave.to_vec()),
        block(rest, last.into_iter().collect()),
    ]
}
