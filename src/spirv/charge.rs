//! What loops take from the budget: for each iteration, or for all before the first.

use crate::code::store;
use crate::counted::{Counted, Step, Variable};
use crate::facts::Facts;
use crate::guard::{Exit, Guard};
use crate::report::behind;
use crate::splice::Splices;
use crate::trips::Trips;
use rspirv::dr::Instruction;
use rspirv::spirv::{GlslStd450Op, Op, Word};

/// From which budget, and how much for an iteration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Charge {
    pub(crate) budget: Word,
    pub(crate) each: u32,
}

impl Guard<'_, '_> {
    /// Charges an iteration where it is done; whether the budget sufficed.
    pub(crate) fn charge(&mut self, charge: Charge, code: &mut Vec<Instruction>) -> Word {
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
    pub(crate) fn also(&mut self, code: &mut Vec<Instruction>, exit: Exit, left: Word) -> Word {
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
    pub(crate) fn charge_ahead(
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
}
