//! Control flow of a function: successors, dominators, loops.

use crate::refusal::Refusal;
use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::{Op, Word};
use std::collections::HashMap;

/// Blocks by their place in the function, and how they follow each other.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) labels: Vec<Word>,
    pub(crate) successors: Vec<Vec<usize>>,
    pub(crate) predecessors: Vec<Vec<usize>>,
    /// Reachable blocks, each before those it dominates.
    pub(crate) order: Vec<usize>,
    dominators: Vec<Option<usize>>,
    /// First and last number of the dominator tree below a block; `None` for what is not reached.
    spans: Vec<Option<(usize, usize)>>,
    pub(crate) loops: Vec<Loop>,
    /// The innermost loop of each block.
    pub(crate) innermost: Vec<Option<usize>>,
}

/// A structured loop. Its blocks are those that the header dominates and the merge block does not.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) header: usize,
    pub(crate) merge: usize,
    /// The block that branches back.
    pub(crate) latch: usize,
    pub(crate) parent: Option<usize>,
}

impl Flow {
    /// Reads a function.
    ///
    /// # Errors
    /// A cycle that is not a structured loop; the validator lets none through.
    pub(crate) fn of(function: &Function) -> Result<Self, Refusal> {
        let labels: Vec<Word> = function.blocks.iter().map(label).collect();
        let index: HashMap<Word, usize> = labels.iter().copied().zip(0..).collect();
        let successors: Vec<Vec<usize>> = function
            .blocks
            .iter()
            .map(|block| {
                targets(block)
                    .filter_map(|target| index.get(&target).copied())
                    .collect()
            })
            .collect();
        let mut flow = Flow {
            predecessors: vec![Vec::new(); labels.len()],
            order: depth_first(&successors),
            dominators: vec![None; labels.len()],
            spans: vec![None; labels.len()],
            loops: Vec::new(),
            innermost: vec![None; labels.len()],
            successors,
            labels,
        };
        for &from in &flow.order {
            for &to in &flow.successors[from] {
                if !flow.predecessors[to].contains(&from) {
                    flow.predecessors[to].push(from);
                }
            }
        }
        flow.find_dominators();
        flow.find_loops(function, &index)?;
        Ok(flow)
    }

    /// Whether every way to `below` leads through `above`.
    pub(crate) fn dominates(&self, above: usize, below: usize) -> bool {
        match (self.spans[above], self.spans[below]) {
            (Some((first, last)), Some((place, _))) => (first..=last).contains(&place),
            _ => false,
        }
    }

    /// Whether a block belongs to a loop, its ways out included.
    pub(crate) fn is_in(&self, block: usize, inside: usize) -> bool {
        let Loop { header, merge, .. } = self.loops[inside];
        self.dominates(header, block) && !self.dominates(merge, block)
    }

    /// Blocks of a loop from which it can go round again.
    pub(crate) fn cycle(&self, of: usize) -> Vec<bool> {
        let Loop { header, latch, .. } = self.loops[of];
        let mut inside = vec![false; self.labels.len()];
        inside[header] = true;
        let mut ahead = vec![latch];
        while let Some(block) = ahead.pop() {
            if !std::mem::replace(&mut inside[block], true) {
                ahead.extend(&self.predecessors[block]);
            }
        }
        inside
    }

    /// Dominators by intersection until nothing changes (Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm).
    fn find_dominators(&mut self) {
        let mut place = vec![usize::MAX; self.labels.len()];
        for (number, &block) in self.order.iter().enumerate() {
            place[block] = number;
        }
        let Some(&entry) = self.order.first() else {
            return;
        };
        self.dominators[entry] = Some(entry);
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for &block in self.order.iter().skip(1) {
                let mut known = self.predecessors[block]
                    .iter()
                    .copied()
                    .filter(|before| self.dominators[*before].is_some());
                let Some(first) = known.next() else { continue };
                let found = known.fold(first, |one, other| {
                    meet(&self.dominators, &place, one, other)
                });
                changed |= self.dominators[block] != Some(found);
                self.dominators[block] = Some(found);
            }
        }
        let mut below = vec![Vec::new(); self.labels.len()];
        for &block in self.order.iter().skip(1) {
            if let Some(dominator) = self.dominators[block] {
                below[dominator].push(block);
            }
        }
        let mut next = 0;
        let mut open = vec![(entry, 0)];
        while let Some((block, done)) = open.last_mut() {
            if *done == 0 {
                self.spans[*block] = Some((next, next));
                next += 1;
            }
            if let Some(&child) = below[*block].get(*done) {
                *done += 1;
                open.push((child, 0));
                continue;
            }
            if let Some((_, last)) = &mut self.spans[*block] {
                *last = next - 1;
            }
            open.pop();
        }
    }

    fn find_loops(
        &mut self,
        function: &Function,
        index: &HashMap<Word, usize>,
    ) -> Result<(), Refusal> {
        let order = self.order.clone();
        for &block in &order {
            let above = self.dominators[block].filter(|above| *above != block);
            let mut innermost = above.and_then(|above| self.innermost[above]);
            while innermost.is_some_and(|around| !self.is_in(block, around)) {
                innermost = innermost.and_then(|around| self.loops[around].parent);
            }
            let mut latches = self.predecessors[block]
                .iter()
                .copied()
                .filter(|before| self.dominates(block, *before));
            if let Some(latch) = latches.next() {
                let merge = loop_merge(&function.blocks[block]);
                let merge = merge.and_then(|merge| index.get(&merge).copied());
                let (Some(merge), None) = (merge, latches.next()) else {
                    return Err(unstructured(&function.blocks[block]));
                };
                self.loops.push(Loop {
                    header: block,
                    merge,
                    latch,
                    parent: innermost,
                });
                innermost = Some(self.loops.len() - 1);
            }
            self.innermost[block] = innermost;
        }
        self.check_cycles(function)
    }

    /// Without the edges back to headers nothing is left that goes round.
    fn check_cycles(&self, function: &Function) -> Result<(), Refusal> {
        let mut waiting: Vec<usize> = vec![0; self.labels.len()];
        let forward = |from: usize, to: usize| !self.dominates(to, from);
        for &block in &self.order {
            let before = self.predecessors[block].iter();
            waiting[block] = before.filter(|before| forward(**before, block)).count();
        }
        let mut ready: Vec<usize> = self.order.first().copied().into_iter().collect();
        let mut seen = 0;
        while let Some(block) = ready.pop() {
            seen += 1;
            let mut after = self.successors[block].clone();
            after.sort_unstable();
            after.dedup();
            for to in after.into_iter().filter(|to| forward(block, *to)) {
                waiting[to] -= 1;
                if waiting[to] == 0 {
                    ready.push(to);
                }
            }
        }
        match self.order.iter().find(|block| waiting[**block] > 0) {
            Some(block) => Err(unstructured(&function.blocks[*block])),
            None if seen == self.order.len() => Ok(()),
            None => Err(unstructured(&function.blocks[0])),
        }
    }
}

/// The nearest block that dominates both.
fn meet(dominators: &[Option<usize>], place: &[usize], mut one: usize, mut other: usize) -> usize {
    while one != other {
        while place[one] > place[other] {
            one = dominators[one].unwrap_or(other);
        }
        while place[other] > place[one] {
            other = dominators[other].unwrap_or(one);
        }
    }
    one
}

/// Reachable blocks in reverse postorder.
fn depth_first(successors: &[Vec<usize>]) -> Vec<usize> {
    let mut seen = vec![false; successors.len()];
    let mut order = Vec::new();
    let mut open = Vec::new();
    if let Some(first) = seen.first_mut() {
        *first = true;
        open.push((0, 0));
    }
    while let Some((block, done)) = open.last_mut() {
        match successors[*block].get(*done) {
            Some(&next) => {
                *done += 1;
                if !std::mem::replace(&mut seen[next], true) {
                    open.push((next, 0));
                }
            }
            None => {
                order.push(*block);
                open.pop();
            }
        }
    }
    order.reverse();
    order
}

pub(crate) fn label(block: &Block) -> Word {
    let label = block.label.as_ref().and_then(|label| label.result_id);
    label.unwrap_or_default()
}

/// Where the last instruction of a block may go.
fn targets(block: &Block) -> impl Iterator<Item = Word> {
    let last = block.instructions.last();
    let (skip, last) = match last.map(|last| last.class.opcode) {
        Some(Op::Branch) => (0, last),
        Some(Op::BranchConditional | Op::Switch) => (1, last),
        _ => (0, None),
    };
    last.into_iter()
        .flat_map(move |last| last.operands.iter().skip(skip))
        .filter_map(Operand::id_ref_any)
}

/// The merge block that a loop header names.
fn loop_merge(block: &Block) -> Option<Word> {
    let merge = block
        .instructions
        .iter()
        .find(|instruction| instruction.class.opcode == Op::LoopMerge)?;
    merge.operands.first().and_then(Operand::id_ref_any)
}

/// Where the merge instruction or, without one, the last instruction stands.
pub(crate) fn end_of(instructions: &[Instruction]) -> usize {
    let last = instructions.len().saturating_sub(1);
    let merges = |at: usize| {
        matches!(
            instructions[at].class.opcode,
            Op::LoopMerge | Op::SelectionMerge
        )
    };
    if last > 0 && merges(last - 1) {
        last - 1
    } else {
        last
    }
}

fn unstructured(block: &Block) -> Refusal {
    Refusal::Instruction {
        opcode: Op::Label,
        id: label(block),
        reason: "the loop here has no structure; use structured control flow",
    }
}
