//! Loops that count: an induction variable, a step, a bound that does not change.
//!
//! Both forms are known: a phi of the header (optimised modules), and a local variable that the loop stores once per
//! iteration (modules as compilers without optimiser write them). For such a loop the number of iterations is known
//! before it starts; guards and yields need nothing in its body.

use crate::facts::{Facts, operand};
use rspirv::spirv::{Op, Word};

/// A loop of a known number of iterations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) variable: Variable,
    /// The first value, if it is a constant.
    pub(crate) first: Option<u32>,
    pub(crate) step: Step,
    pub(crate) test: Test,
    /// The comparison, and which operand of it is the bound.
    pub(crate) comparison: Word,
    pub(crate) bound_at: usize,
    pub(crate) bound: Word,
}

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variable {
    /// A phi of the header with its value on entry.
    Phi { phi: Word, first: Word },
    /// A local variable.
    Local(Word),
}

/// What is added each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Up(u32),
    Down(u32),
    /// An invariant value, upwards, and where the loop has it: an operand of the sum.
    By {
        value: Word,
        sum: Word,
        at: usize,
    },
    /// Nothing: it is halved at least, as an unsigned number.
    Halved,
    /// The same as a signed one.
    HalvedSigned,
}

/// While this holds of (variable, bound) the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Below { signed: bool, inclusive: bool },
    Above { signed: bool, inclusive: bool },
    Differs,
}

/// Recognises a loop that `condition`, tested in `block` in each iteration, keeps going while it is `wanted`.
pub(crate) fn recognise(
    facts: &Facts<'_>,
    inside: usize,
    block: usize,
    condition: Word,
    wanted: bool,
) -> Option<Counted> {
    recognise_within(facts, inside, block, condition, wanted, 4)
}

fn recognise_within(
    facts: &Facts<'_>,
    inside: usize,
    block: usize,
    condition: Word,
    wanted: bool,
    depth: usize,
) -> Option<Counted> {
    let depth = depth.checked_sub(1)?;
    let (_, instruction) = facts.definition(condition)?;
    let part = |at| operand(instruction, at);
    match instruction.class.opcode {
        Op::LogicalNot => recognise_within(facts, inside, block, part(0), !wanted, depth),
        // Both parts have to hold for another iteration.
        Op::LogicalAnd if wanted => [part(0), part(1)]
            .iter()
            .find_map(|part| recognise_within(facts, inside, block, *part, true, depth)),
        Op::LogicalOr if !wanted => [part(0), part(1)]
            .iter()
            .find_map(|part| recognise_within(facts, inside, block, *part, false, depth)),
        // The form that "and" and "or" have in languages that skip the second part.
        Op::Phi => {
            let (before, part) = skipped(facts, condition, wanted)?;
            let stays = facts.flow.innermost[before] == Some(inside);
            let part = stays.then_some(part)?;
            recognise_within(facts, inside, before, part, wanted, depth)
        }
        opcode => {
            let test = Test::of(opcode, wanted)?;
            [(0, 1, test), (1, 0, test.swapped())]
                .into_iter()
                .find_map(|(at, bound_at, test)| {
                    counted(facts, inside, block, condition, (at, bound_at), test)
                })
        }
    }
}

/// The first part of such a condition, and the block that branches on it: if the whole is as `wanted`, so is the part,
/// because the block of the second part is reached no other way.
fn skipped(facts: &Facts<'_>, condition: Word, wanted: bool) -> Option<(usize, Word)> {
    let flow = facts.flow;
    let (block, phi) = facts.made_by(condition, Op::Phi)?;
    let [_, _, _, _] = phi.operands.as_slice() else {
        return None;
    };
    let parent = |at: usize| {
        let label = operand(phi, at + 1);
        let parents = flow.predecessors[block].iter().copied();
        parents
            .into_iter()
            .find(|parent| flow.labels[*parent] == label)
    };
    [(0, 2), (2, 0)].into_iter().find_map(|(first, second)| {
        let (before, other) = (parent(first)?, parent(second)?);
        let branch = facts.function.blocks[before].instructions.last()?;
        let part = operand(branch, 0);
        let [one, two] = flow.successors[before].as_slice() else {
            return None;
        };
        let onward = if wanted { *one } else { *two };
        let only_way = flow.predecessors[onward] == [before]
            && onward != block
            && flow.dominates(onward, other);
        let value = operand(phi, first);
        let skips = value == part || facts.constant(value) == Some(u32::from(!wanted));
        let fits = branch.class.opcode == Op::BranchConditional
            && skips
            && only_way
            && flow.dominates(before, block);
        fits.then_some((before, part))
    })
}

fn counted(
    facts: &Facts<'_>,
    inside: usize,
    block: usize,
    comparison: Word,
    (at, bound_at): (usize, usize),
    test: Test,
) -> Option<Counted> {
    let (_, instruction) = facts.definition(comparison)?;
    let (value, bound) = (operand(instruction, at), operand(instruction, bound_at));
    if !facts.is_int32(value) || !facts.is_int32(bound) || !facts.is_invariant(bound, inside) {
        return None;
    }
    let (variable, first, step) =
        phi(facts, inside, value).or_else(|| local(facts, inside, block, value))?;
    let usable = match (test, step) {
        (Test::Below { .. }, Step::Up(_) | Step::By { .. })
        | (Test::Above { .. }, Step::Down(_))
        | (Test::Differs, Step::Up(1) | Step::Down(1)) => true,
        // Down to 0, where halving stays; the sign stays too, so what keeps it must be positive.
        (
            Test::Above {
                inclusive: false, ..
            }
            | Test::Differs,
            Step::Halved,
        )
        | (
            Test::Above {
                inclusive: false,
                signed: true,
            },
            Step::HalvedSigned,
        ) => facts.constant(bound) == Some(0),
        _ => false,
    };
    usable.then_some(Counted {
        variable,
        first,
        step,
        test,
        comparison,
        bound_at,
        bound,
    })
}

type Induction = (Variable, Option<u32>, Step);

fn phi(facts: &Facts<'_>, inside: usize, value: Word) -> Option<Induction> {
    let flow = facts.flow;
    let (block, phi) = facts.made_by(value, Op::Phi)?;
    let found = &flow.loops[inside];
    if block != found.header || phi.operands.len() != 4 {
        return None;
    }
    let latch = flow.labels[found.latch];
    let (first, next) = match [operand(phi, 1), operand(phi, 3)] {
        [_, second] if second == latch => (operand(phi, 0), operand(phi, 2)),
        [one, _] if one == latch => (operand(phi, 2), operand(phi, 0)),
        _ => return None,
    };
    let step = step(facts, inside, next, |old| old == value)?;
    Some((
        Variable::Phi { phi: value, first },
        facts.constant(first),
        step,
    ))
}

fn local(facts: &Facts<'_>, inside: usize, block: usize, value: Word) -> Option<Induction> {
    let flow = facts.flow;
    let (tested, load) = facts.made_by(value, Op::Load)?;
    let variable = operand(load, 0);
    let stores = facts.stores(variable)?;
    let mut own = stores
        .iter()
        .filter(|(block, _)| flow.is_in(*block, inside));
    let (&(at, place), None) = (own.next()?, own.next()) else {
        return None;
    };
    // Stored once per iteration, after the test has loaded it.
    let once = flow.innermost[at] == Some(inside) && flow.dominates(at, flow.loops[inside].latch);
    if !once || tested != block || at == block || !flow.dominates(block, at) {
        return None;
    }
    let store = &facts.function.blocks[at].instructions[place];
    let step = step(facts, inside, operand(store, 1), |old| {
        facts.made_by(old, Op::Load).is_some_and(|(_, load)| {
            let loaded = facts.place(old);
            operand(load, 0) == variable
                && loaded.is_some_and(|(block, before)| block == at && before < place)
        })
    })?;
    Some((
        Variable::Local(variable),
        first_stored(facts, inside, variable),
        step,
    ))
}

/// The constant that the block before the loop stores last.
fn first_stored(facts: &Facts<'_>, inside: usize, variable: Word) -> Option<u32> {
    let flow = facts.flow;
    let found = &flow.loops[inside];
    let mut before = flow.predecessors[found.header]
        .iter()
        .filter(|before| **before != found.latch);
    let (Some(&before), None) = (before.next(), before.next()) else {
        return None;
    };
    let stores = facts.stores(variable)?;
    let last = stores
        .iter()
        .filter(|(block, _)| *block == before)
        .max_by_key(|(_, place)| *place)?;
    let store = &facts.function.blocks[last.0].instructions[last.1];
    facts.constant(operand(store, 1))
}

/// How `next` differs from the value that `is_old` knows.
fn step(
    facts: &Facts<'_>,
    inside: usize,
    next: Word,
    is_old: impl Fn(Word) -> bool,
) -> Option<Step> {
    let (_, sum) = facts.definition(next)?;
    let (one, other) = (operand(sum, 0), operand(sum, 1));
    let up = |by: u32| {
        let negative = by.cast_signed() < 0;
        match by {
            0 => None,
            _ if negative => Some(Step::Down(by.wrapping_neg())),
            _ => Some(Step::Up(by)),
        }
    };
    match sum.class.opcode {
        Op::IAdd => {
            let (by, at) = match (is_old(one), is_old(other)) {
                (true, false) => (other, 1),
                (false, true) => (one, 0),
                _ => return None,
            };
            match facts.constant(by) {
                Some(by) => up(by),
                None => {
                    let usable =
                        facts.is_int32(by) && facts.is_fixed(by) && facts.is_invariant(by, inside);
                    usable.then_some(Step::By {
                        value: by,
                        sum: next,
                        at,
                    })
                }
            }
        }
        Op::ISub if is_old(one) => up(facts.constant(other)?.wrapping_neg()),
        Op::ShiftRightLogical if is_old(one) => (1..32)
            .contains(&facts.constant(other)?)
            .then_some(Step::Halved),
        Op::ShiftRightArithmetic if is_old(one) => (1..32)
            .contains(&facts.constant(other)?)
            .then_some(Step::HalvedSigned),
        Op::UDiv if is_old(one) => (facts.constant(other)? >= 2).then_some(Step::Halved),
        Op::SDiv if is_old(one) => {
            (facts.constant(other)?.cast_signed() >= 2).then_some(Step::HalvedSigned)
        }
        _ => None,
    }
}

impl Test {
    /// What a comparison says if its result is `wanted`.
    fn of(opcode: Op, wanted: bool) -> Option<Self> {
        let (below, signed, inclusive) = match opcode {
            Op::INotEqual if wanted => return Some(Test::Differs),
            Op::IEqual if !wanted => return Some(Test::Differs),
            Op::ULessThan => (true, false, false),
            Op::ULessThanEqual => (true, false, true),
            Op::UGreaterThan => (false, false, false),
            Op::UGreaterThanEqual => (false, false, true),
            Op::SLessThan => (true, true, false),
            Op::SLessThanEqual => (true, true, true),
            Op::SGreaterThan => (false, true, false),
            Op::SGreaterThanEqual => (false, true, true),
            _ => return None,
        };
        let inclusive = inclusive == wanted;
        Some(if below == wanted {
            Test::Below { signed, inclusive }
        } else {
            Test::Above { signed, inclusive }
        })
    }

    /// Whether the bound itself keeps the loop going.
    pub(crate) fn is_inclusive(self) -> bool {
        matches!(
            self,
            Test::Below {
                inclusive: true,
                ..
            } | Test::Above {
                inclusive: true,
                ..
            }
        )
    }

    fn swapped(self) -> Self {
        match self {
            Test::Below { signed, inclusive } => Test::Above { signed, inclusive },
            Test::Above { signed, inclusive } => Test::Below { signed, inclusive },
            Test::Differs => Test::Differs,
        }
    }
}
