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
use crate::code::{Code, function, store};
use crate::counted::{Counted, Step, Variable, recognise};
use crate::daemon_set::DaemonSet;
use crate::edit::{Editor, act, id};
use crate::facts::{Facts, operand};
use crate::flow::Flow;
use crate::layout::Types;
use crate::limits::MAX_EXPANDED_INSTRUCTIONS;
use crate::refusal::Refusal;
use crate::splice::{Place, Splices};
use crate::trips::{self, Trips};
use rspirv::dr::{Function, Instruction};
use rspirv::spirv::{GlslStd450Op, Op, StorageClass, Word};
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

/// The function that tells of a budget that is used up, if it is.
fn declare_report(editor: &mut Editor<'_>, set: &mut DaemonSet, name: Word) {
    let (void, bool, used_up) = (editor.void(), editor.bool(), editor.id());
    let type_ = editor.procedure(&[bool]);
    let parameter = Instruction::new(Op::FunctionParameter, Some(bool), Some(used_up), vec![]);
    let mut code = Code::new(editor);
    code.when(editor, used_up, |editor, code| {
        set.store_used_up(editor, &mut code.open);
    });
    let report = function(name, (void, type_), vec![parameter], code.finish());
    editor.module.functions.push(report);
}

/// What callers need to know of a function.
#[derive(Debug, Clone, Copy)]
struct Summary {
    /// A barrier is in it or in what it calls.
    barrier: bool,
    /// Iterations that it does for nothing.
    bounded: u64,
    /// Instructions with all calls expanded.
    instructions: u64,
    /// A loop of it, or of what it calls, has a budget.
    charged: bool,
}

struct Guard<'e, 'm> {
    editor: &'e mut Editor<'m>,
    types: &'e Types,
    /// Type by value of module scope.
    globals: HashMap<Word, Word>,
    known: HashMap<Word, Summary>,
    budgets: Budgets,
    /// The function that tells of the end of a budget.
    report: Option<Word>,
}

/// A loop on its way.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    /// Iterations of bounded loops in one of its own.
    inner: u64,
    barrier: bool,
    /// It or something in it has a budget.
    charged: bool,
    /// Whether its budget suffices is known before it starts, and nothing in it has one.
    known_ahead: bool,
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

    /// Charges an iteration where it is done; whether the budget sufficed.
    fn charge(&mut self, charge: Charge, code: &mut Vec<Instruction>) -> Word {
        let editor = &mut *self.editor;
        let (uint, bool) = (editor.uint(), editor.bool());
        let (each, zero) = (editor.number(charge.each), editor.number(0));
        let minus_one = editor.number(u32::MAX);
        let before = editor.apply(code, Op::Load, uint, &[charge.budget]);
        let after = editor.apply(code, Op::ISub, uint, &[before, each]);
        // Not further below, or a long rest of a shader might come round to a budget again.
        let after = editor.apply_glsl(code, GlslStd450Op::SMax, uint, &[after, minus_one]);
        store(code, charge.budget, after);
        editor.apply(code, Op::SGreaterThanEqual, bool, &[after, zero])
    }

    /// The condition of an exit, which is taken unless `left` holds as well.
    fn also(&mut self, code: &mut Vec<Instruction>, exit: Exit, left: Word) -> Word {
        let bool = self.editor.bool();
        if exit.stays {
            self.editor
                .apply(code, Op::LogicalAnd, bool, &[exit.condition, left])
        } else {
            let over = self.editor.apply(code, Op::LogicalNot, bool, &[left]);
            self.editor
                .apply(code, Op::LogicalOr, bool, &[exit.condition, over])
        }
    }

    /// Charges all iterations of a counted loop before it starts.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known of one loop; it has no life beyond this call"
    )]
    fn charge_ahead(
        &mut self,
        facts: &Facts<'_>,
        at: usize,
        cycle: &[bool],
        exit: Exit,
        counted: &Counted,
        charge: Charge,
        splices: &mut Splices,
    ) {
        let flow = facts.flow;
        let found = &flow.loops[at];
        let editor = &mut *self.editor;
        let (uint, bool) = (editor.uint(), editor.bool());
        let mut code = Vec::new();
        let type_of = |value: Word| facts.type_of(value).unwrap_or(uint);
        let first = match counted.variable {
            Variable::Phi { first, .. } => first,
            Variable::Local(variable) => {
                let pointee = type_of(variable);
                let type_ = facts.types.pointee(pointee).map_or(uint, |(_, to)| to);
                editor.apply(&mut code, Op::Load, type_, &[variable])
            }
        };
        let bound = facts.hoist(editor, &mut code, counted.bound, at);
        let by = match counted.step {
            Step::By {
                value,
                sum,
                at: place,
            } => {
                let by = facts.hoist(editor, &mut code, value, at);
                splices.operands.insert(sum, (place, by));
                Some(by)
            }
            _ => None,
        };
        let trips = Trips::emit(editor, &mut code, counted, (first, bound, by));
        let (zero, minus_one) = (editor.number(0), editor.number(u32::MAX));
        let each = editor.number(charge.each);
        let before = editor.apply(&mut code, Op::Load, uint, &[charge.budget]);
        let room = editor.apply_glsl(&mut code, GlslStd450Op::SMax, uint, &[before, zero]);
        let (room, cost) = if charge.each == 1 {
            (room, trips.count)
        } else {
            (
                editor.apply(&mut code, Op::UDiv, uint, &[room, each]),
                editor.apply(&mut code, Op::IMul, uint, &[trips.count, each]),
            )
        };
        let fits = editor.apply(&mut code, Op::ULessThanEqual, bool, &[trips.count, room]);
        let after = editor.apply(&mut code, Op::ISub, uint, &[before, cost]);
        let after = editor.apply(&mut code, Op::Select, uint, &[fits, after, minus_one]);
        store(&mut code, charge.budget, after);
        let bound = self.bound(facts, counted, (first, bound, fits), &mut code);
        splices
            .operands
            .insert(counted.comparison, (counted.bound_at, bound));
        splices
            .before_loop
            .entry(found.header)
            .or_default()
            .extend(code);
        if counted.test.is_inclusive() {
            let mut code = Vec::new();
            let condition = self.also(&mut code, exit, fits);
            splices.at_end.entry(exit.block).or_default().extend(code);
            splices.conditions.insert(exit.block, condition);
        }
        self.give_back(facts, at, cycle, counted, (charge, &trips, first), splices);
    }

    /// The bound of a loop that is not entered unless `fits` holds: the value that the variable begins with.
    fn bound(
        &mut self,
        facts: &Facts<'_>,
        counted: &Counted,
        (first, bound, fits): (Word, Word, Word),
        code: &mut Vec<Instruction>,
    ) -> Word {
        if counted.test.is_inclusive() {
            return bound;
        }
        let uint = self.editor.uint();
        let type_ = facts.type_of(counted.bound).unwrap_or(uint);
        let start = self.editor.apply(code, Op::Bitcast, type_, &[first]);
        self.editor
            .apply(code, Op::Select, type_, &[fits, bound, start])
    }

    /// Tells of it where `used_up` holds.
    fn report(&mut self, code: &mut Vec<Instruction>, used_up: Word) {
        let void = self.editor.void();
        let report = match self.report {
            Some(report) => report,
            None => *self.report.insert(self.editor.id()),
        };
        self.editor
            .apply(code, Op::FunctionCall, void, &[report, used_up]);
    }

    /// Tells of it in the entry point, where it is in no loop: a budget that is used up stays so until then. In loops
    /// llvmpipe would do it each time. It is done ahead of loops where it can be: a budget that lives on behind one, or
    /// at the end of the shader, made an H200 take half as long again for a loop over the same data for all.
    fn report_all(&mut self, facts: &Facts<'_>, weights: &[Weight], splices: &mut Splices) {
        let flow = facts.flow;
        let mut places: Vec<Place> = Vec::new();
        for (at, found) in flow.loops.iter().enumerate() {
            if found.parent.is_some() || !weights[at].charged {
                continue;
            }
            if weights[at].known_ahead {
                let mut code = Vec::new();
                let used_up = self.used_up(&mut code);
                self.report(&mut code, used_up);
                splices
                    .before_loop
                    .entry(found.header)
                    .or_default()
                    .extend(code);
            } else {
                places.extend(behind(flow, at));
            }
        }
        for (at, block) in facts.function.blocks.iter().enumerate() {
            let mut called = block.instructions.iter().filter_map(callee);
            let charged = called.any(|called| {
                let summary = self.known.get(&called);
                summary.is_some_and(|summary| summary.charged)
            });
            if flow.innermost[at].is_none() && charged {
                places.push(Place::End(at));
            }
        }
        for place in places {
            let mut code = Vec::new();
            let used_up = self.used_up(&mut code);
            self.report(&mut code, used_up);
            splices.put(place, code);
        }
    }

    /// Whether a budget is below zero.
    fn used_up(&mut self, code: &mut Vec<Instruction>) -> Word {
        let editor = &mut *self.editor;
        let (uint, bool) = (editor.uint(), editor.bool());
        let zero = editor.number(0);
        let budgets = [self.budgets.own, self.budgets.uniform];
        let left = budgets
            .into_iter()
            .flatten()
            .map(|budget| editor.apply(code, Op::Load, uint, &[budget]))
            .collect::<Vec<_>>();
        let least = left
            .into_iter()
            .reduce(|one, other| editor.apply_glsl(code, GlslStd450Op::SMin, uint, &[one, other]));
        editor.apply(code, Op::SLessThan, bool, &[least.unwrap_or(zero), zero])
    }

    /// Where a loop may be left early, what it did not do goes back to the budget.
    fn give_back(
        &mut self,
        facts: &Facts<'_>,
        at: usize,
        cycle: &[bool],
        counted: &Counted,
        (charge, trips, first): (Charge, &Trips, Word),
        splices: &mut Splices,
    ) {
        let flow = facts.flow;
        let ways_out: usize = (0..cycle.len())
            .filter(|block| cycle[*block])
            .map(|block| {
                let outside = flow.successors[block].iter().filter(|next| !cycle[**next]);
                outside.count() + usize::from(flow.successors[block].is_empty())
            })
            .sum();
        if ways_out < 2 {
            return;
        }
        for place in behind(flow, at) {
            let code = self.refund(facts, counted, charge, trips, first);
            splices.put(place, code);
        }
    }

    fn refund(
        &mut self,
        facts: &Facts<'_>,
        counted: &Counted,
        charge: Charge,
        trips: &Trips,
        first: Word,
    ) -> Vec<Instruction> {
        let editor = &mut *self.editor;
        let (uint, bool) = (editor.uint(), editor.bool());
        let mut code = Vec::new();
        let value = match counted.variable {
            Variable::Phi { phi, .. } => phi,
            Variable::Local(variable) => {
                let pointer = facts.type_of(variable).unwrap_or(uint);
                let type_ = facts.types.pointee(pointer).map_or(uint, |(_, to)| to);
                editor.apply(&mut code, Op::Load, type_, &[variable])
            }
        };
        let ends = if matches!(counted.step, Step::Down(_)) {
            [first, value]
        } else {
            [value, first]
        };
        let mut done = editor.apply(&mut code, Op::ISub, uint, &ends);
        if let Some(step) = trips.step {
            done = editor.apply(&mut code, Op::UDiv, uint, &[done, step]);
        }
        let (zero, one) = (editor.number(0), editor.number(1));
        let done = editor.apply(&mut code, Op::IAdd, uint, &[done, one]);
        let done = editor.apply_glsl(&mut code, GlslStd450Op::UMin, uint, &[done, trips.count]);
        let saved = editor.apply(&mut code, Op::ISub, uint, &[trips.count, done]);
        let each = editor.number(charge.each);
        let saved = editor.apply(&mut code, Op::IMul, uint, &[saved, each]);
        let before = editor.apply(&mut code, Op::Load, uint, &[charge.budget]);
        let after = editor.apply(&mut code, Op::IAdd, uint, &[before, saved]);
        let used_up = editor.apply(&mut code, Op::SLessThan, bool, &[before, zero]);
        let after = editor.apply(&mut code, Op::Select, uint, &[used_up, before, after]);
        store(&mut code, charge.budget, after);
        code
    }

    /// The end of the function, wherever a loop without another way out is left.
    fn leave(&mut self, function: &Function, is_entry: bool) -> Vec<Instruction> {
        let void = self.editor.void();
        let mut code = Vec::new();
        if is_entry {
            let yes = self.editor.yes();
            self.report(&mut code, yes);
        }
        code.push(
            match function.def.as_ref().and_then(|def| def.result_type) {
                Some(type_) if type_ != void => {
                    let zero = self.editor.null(type_);
                    act(Op::ReturnValue, vec![id(zero)])
                }
                _ => act(Op::Return, vec![]),
            },
        );
        code
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

/// From which budget, and how much for an iteration.
#[derive(Debug, Clone, Copy)]
struct Charge {
    budget: Word,
    each: u32,
}

/// A branch that each iteration comes to, and that may lead out.
#[derive(Debug, Clone, Copy)]
struct Exit {
    block: usize,
    condition: Word,
    /// What the condition is while the loop goes on.
    stays: bool,
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

/// Where one is after a loop: behind its merge block, or before a return inside of it.
fn behind(flow: &Flow, at: usize) -> Vec<Place> {
    let merge = flow.loops[at].merge;
    let returns = (0..flow.labels.len())
        .filter(|block| flow.is_in(*block, at) && flow.successors[*block].is_empty());
    let mut places: Vec<Place> = returns.map(Place::End).collect();
    if !flow.predecessors[merge].is_empty() {
        let is_header = flow.loops.iter().any(|found| found.header == merge);
        // In the next loop it would be done in each round.
        places.push(if is_header {
            Place::BeforeLoop(merge)
        } else {
            Place::Start(merge)
        });
    }
    places
}

/// So many iterations need no budget: a shader of nothing else does them in well under a millisecond.
const MAX_BOUNDED_ITERATIONS: u64 = 1 << 16;
/// The weight of one iteration at most.
const MAX_WEIGHT: u64 = 1 << 20;
