//! Loops that end.
//!
//! Each loop is of one of these kinds, the cheapest that fits:
//! 1. *Bounded*: it goes round a known number of times, few enough to be done for nothing.
//! 2. *Counted*: its iterations are known when it starts, so all of them are charged there, and what an early exit
//!    saves is given back. Nothing is added to its body. A loop that is charged too much is not entered.
//! 3. *Tested*: an exit that each iteration passes is taken when the budget is used up.
//! 4. *Left*: without such an exit its function returns when the budget is used up.
//!
//! The budget is a number of iterations per invocation; the daemon gives it. Iterations of a loop weigh as many as the
//! bounded loops in it do. Once the budget is below zero every loop ends at its first test and what remains of the
//! shader runs once, which the length of the code with all calls expanded bounds; recursion is refused. So a shader
//! ends without being torn out of barriers: loops with barriers in them have a budget of their own, which falls at the
//! same pace in all invocations of a workgroup, as long as the client's loop is uniform, as it must be.
//!
//! Why nothing is added to counted loops, and exits are used that are there: a counter in the hot loop of a kernel costs
//! up to half of its speed on GPUs, since it hides the loop from the driver's compiler, and a branch more than that on
//! llvmpipe, which runs both sides of it.

use crate::calls::callee;
use crate::charge::Charge;
use crate::counted::{Step, recognise};
use crate::daemon_set::DaemonSet;
use crate::edit::Editor;
use crate::facts::{Facts, operand};
use crate::flow::Flow;
use crate::layout::Types;
use crate::limits::MAX_EXPANDED_INSTRUCTIONS;
use crate::refusal::Refusal;
use crate::report::declare_report;
use crate::splice::Splices;
use crate::trips;
use rspirv::dr::Function;
use rspirv::spirv::{Op, StorageClass, Word};
use std::collections::HashMap;

/// The budgets of a module that needs them, as private variables of 32 bits.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Budgets {
    /// For loops without barriers.
    pub(crate) own: Option<Word>,
    /// For loops with barriers: the same in all invocations of a workgroup.
    pub(crate) uniform: Option<Word>,
}

/// Guards all loops; `calls` are the functions, callees first.
pub(crate) fn loops(
    editor: &mut Editor<'_>,
    types: &Types,
    set: &mut DaemonSet,
    calls: &[Word],
) -> Result<Budgets, Refusal> {
    let globals: HashMap<Word, Word> = editor
        .module
        .types_global_values
        .iter()
        .filter_map(|value| Some((value.result_id?, value.result_type?)))
        .collect();
    let mut guard = Guard {
        editor,
        types,
        globals,
        known: HashMap::new(),
        budgets: Budgets::default(),
        report: None,
    };
    for call in calls {
        let functions = &mut guard.editor.module.functions;
        let place = functions
            .iter()
            .position(|function| function.def_id() == Some(*call));
        let Some(place) = place else { continue };
        let mut function = std::mem::take(&mut functions[place]);
        let is_entry = calls.last() == Some(call);
        let summary = guard.function(&mut function, is_entry)?;
        guard.editor.module.functions[place] = function;
        guard.known.insert(*call, summary);
    }
    let (budgets, report) = (guard.budgets, guard.report);
    if let Some(report) = report {
        declare_report(editor, set, report);
    }
    Ok(budgets)
}

/// What callers need to know of a function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    /// A barrier is in it or in what it calls.
    barrier: bool,
    /// Iterations that it does for nothing.
    bounded: u64,
    /// Instructions with all calls expanded.
    instructions: u64,
    /// A loop of it, or of what it calls, has a budget.
    pub(crate) charged: bool,
}

pub(crate) struct Guard<'e, 'm> {
    pub(crate) editor: &'e mut Editor<'m>,
    types: &'e Types,
    /// Type by value of module scope.
    globals: HashMap<Word, Word>,
    pub(crate) known: HashMap<Word, Summary>,
    pub(crate) budgets: Budgets,
    /// The function that tells of the end of a budget.
    pub(crate) report: Option<Word>,
}

/// A loop on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weight {
    /// Iterations of bounded loops in one of its own.
    inner: u64,
    barrier: bool,
    /// It or something in it has a budget.
    pub(crate) charged: bool,
    /// Whether its budget suffices is known before it starts, and nothing in it has one.
    pub(crate) known_ahead: bool,
}

/// How a loop was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With the iterations that it does for nothing.
    Bounded(u64),
    Counted,
    Tested,
}

impl Guard<'_, '_> {
    fn function(&mut self, function: &mut Function, is_entry: bool) -> Result<Summary, Refusal> {
        let flow = Flow::of(function)?;
        let mut whole = Summary {
            barrier: false,
            bounded: 0,
            instructions: 0,
            charged: false,
        };
        let mut weights = vec![Weight::default(); flow.loops.len()];
        self.weigh(function, &flow, &mut whole, &mut weights)?;
        if flow.loops.is_empty() && !(is_entry && whole.charged) {
            return Ok(whole);
        }
        let mut splices = Splices::default();
        let facts = Facts::of(function, &flow, self.types, &self.globals);
        // Loops are found before those inside them.
        for at in (0..flow.loops.len()).rev() {
            let kind = self.guard(&facts, at, weights[at], &mut splices);
            weights[at].known_ahead = kind == Kind::Counted && !weights[at].charged;
            weights[at].charged |= !matches!(kind, Kind::Bounded(_));
            let Weight {
                barrier, charged, ..
            } = weights[at];
            whole.charged |= charged;
            let around = flow.loops[at].parent;
            let inner = match around.and_then(|around| weights.get_mut(around)) {
                Some(around) => {
                    around.barrier |= barrier;
                    around.charged |= charged;
                    &mut around.inner
                }
                None => &mut whole.bounded,
            };
            if let Kind::Bounded(iterations) = kind {
                *inner = inner.saturating_add(iterations);
            }
        }
        if is_entry {
            self.report_all(&facts, &weights, &mut splices);
        }
        let leave = match splices.ways_out.is_empty() {
            true => Vec::new(),
            false => self.leave(function, is_entry),
        };
        splices.apply(self.editor, &flow, function, &leave);
        Ok(whole)
    }

    /// Sums up blocks and calls.
    fn weigh(
        &self,
        function: &Function,
        flow: &Flow,
        whole: &mut Summary,
        weights: &mut [Weight],
    ) -> Result<(), Refusal> {
        for (at, block) in function.blocks.iter().enumerate() {
            let inside = flow.innermost[at];
            for instruction in &block.instructions {
                whole.instructions += 1;
                let mut barrier = instruction.class.opcode == Op::ControlBarrier;
                let mut bounded = 0;
                if let Some(called) = callee(instruction) {
                    let Some(summary) = self.known.get(&called) else {
                        return Err(Refusal::Instruction {
                            opcode: Op::FunctionCall,
                            id: called,
                            reason: "functions cannot call themselves; use a loop",
                        });
                    };
                    whole.instructions = whole.instructions.saturating_add(summary.instructions);
                    barrier |= summary.barrier;
                    bounded = summary.bounded;
                    whole.charged |= summary.charged;
                    if let Some(inside) = inside {
                        weights[inside].charged |= summary.charged;
                    }
                }
                whole.barrier |= barrier;
                match inside {
                    Some(inside) => {
                        weights[inside].barrier |= barrier;
                        weights[inside].inner = weights[inside].inner.saturating_add(bounded);
                    }
                    None => whole.bounded = whole.bounded.saturating_add(bounded),
                }
            }
        }
        if whole.instructions > MAX_EXPANDED_INSTRUCTIONS {
            return Err(Refusal::Expansion {
                id: function.def_id().unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Guards one loop.
    fn guard(
        &mut self,
        facts: &Facts<'_>,
        at: usize,
        weight: Weight,
        splices: &mut Splices,
    ) -> Kind {
        let cycle = facts.flow.cycle(at);
        let exits = exits(facts, at, &cycle);
        let found = exits.iter().find_map(|exit| {
            let counted = recognise(facts, at, exit.block, exit.condition, exit.stays)?;
            Some((*exit, counted))
        });
        // One more for the round in which the exit is taken.
        let each = weight.inner.saturating_add(1);
        if let Some((_, counted)) = &found {
            let trips = trips::known(counted, facts.constant(counted.bound));
            let all = trips.map(|trips| trips.saturating_add(1).saturating_mul(each));
            if let Some(all) = all.filter(|all| *all <= MAX_BOUNDED_ITERATIONS) {
                return Kind::Bounded(all);
            }
        }
        let weight = Charge {
            budget: self.budget(weight.barrier),
            each: u32::try_from(each.min(MAX_WEIGHT)).unwrap_or(1),
        };
        match (found, exits.first()) {
            (Some((exit, counted)), _)
                if !matches!(counted.step, Step::Halved | Step::HalvedSigned) =>
            {
                self.charge_ahead(facts, at, &cycle, exit, &counted, weight, splices);
                return Kind::Counted;
            }
            (_, Some(exit)) => {
                let mut code = Vec::new();
                let left = self.charge(weight, &mut code);
                let condition = self.also(&mut code, *exit, left);
                splices.at_end.entry(exit.block).or_default().extend(code);
                splices.conditions.insert(exit.block, condition);
            }
            (_, None) => {
                let header = facts.flow.loops[at].header;
                let mut code = Vec::new();
                let left = self.charge(weight, &mut code);
                splices.at_end.entry(header).or_default().extend(code);
                splices.ways_out.insert(header, left);
            }
        }
        Kind::Tested
    }

    fn budget(&mut self, barrier: bool) -> Word {
        let uint = self.editor.uint();
        let zero = self.editor.null(uint);
        let budget = if barrier {
            &mut self.budgets.uniform
        } else {
            &mut self.budgets.own
        };
        match *budget {
            Some(budget) => budget,
            None => {
                let new = self
                    .editor
                    .variable(StorageClass::Private, uint, Some(zero));
                *budget = Some(new);
                new
            }
        }
    }
}

/// A branch that each iteration comes to, and that may lead out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    pub(crate) block: usize,
    pub(crate) condition: Word,
    /// What the condition is while the loop goes on.
    pub(crate) stays: bool,
}

/// The exits of a loop, in order; `cycle` are the blocks from which it can go round.
fn exits(facts: &Facts<'_>, at: usize, cycle: &[bool]) -> Vec<Exit> {
    let flow = facts.flow;
    let latch = flow.loops[at].latch;
    let passed = flow.order.iter().copied().filter(|block| {
        flow.innermost[*block] == Some(at) && cycle[*block] && flow.dominates(*block, latch)
    });
    passed
        .filter_map(|block| {
            let last = facts.function.blocks[block].instructions.last()?;
            let [one, other] = flow.successors[block].as_slice() else {
                return None;
            };
            let stays = match (cycle[*one], cycle[*other]) {
                (true, false) => true,
                (false, true) => false,
                _ => return None,
            };
            (last.class.opcode == Op::BranchConditional).then(|| Exit {
                block,
                condition: operand(last, 0),
                stays,
            })
        })
        .collect()
}

/// So many iterations need no budget: a shader of nothing else does them in well under a millisecond.
const MAX_BOUNDED_ITERATIONS: u64 = 1 << 16;
/// The weight of one iteration at most.
const MAX_WEIGHT: u64 = 1 << 20;
