//! How often a counted loop goes round.

use crate::counted::{Counted, Step, Test};
use crate::edit::Editor;
use rspirv::dr::Instruction;
use rspirv::spirv::{Op, Word};

/// The number of iterations, where first value and bound are constants; `None` if they are not, or it never ends.
pub(crate) fn known(counted: &Counted, bound: Option<u32>) -> Option<u64> {
    if matches!(counted.step, Step::Halved | Step::HalvedSigned) {
        return Some(u64::from(u32::BITS) + 1);
    }
    let (first, bound) = (counted.first?, bound?);
    let step = match counted.step {
        Step::Up(step) | Step::Down(step) => i64::from(step),
        _ => return None,
    };
    let wide = |value: u32, signed: bool| {
        if signed {
            i64::from(value.cast_signed())
        } else {
            i64::from(value)
        }
    };
    let (span, room) = match counted.test {
        Test::Below { signed, inclusive } => {
            let (first, bound) = (wide(first, signed), wide(bound, signed));
            let most = if signed {
                i64::from(i32::MAX)
            } else {
                i64::from(u32::MAX)
            };
            (bound - first + i64::from(inclusive), most - first)
        }
        Test::Above { signed, inclusive } => {
            let (first, bound) = (wide(first, signed), wide(bound, signed));
            let least = if signed { i64::from(i32::MIN) } else { 0 };
            (first - bound + i64::from(inclusive), first - least)
        }
        Test::Differs => {
            let span = match counted.step {
                Step::Up(_) => bound.wrapping_sub(first),
                _ => first.wrapping_sub(bound),
            };
            return Some(u64::from(span));
        }
    };
    let trips = (span.max(0) + step - 1) / step;
    // The value after the last iteration must still be one, or it begins again from the other end.
    let ends = trips * step <= room;
    ends.then(|| trips.unsigned_abs())
}

/// Code for the number of iterations, as an unsigned 32-bit number; the greatest one if it never ends.
pub(crate) struct Trips {
    pub(crate) count: Word,
    /// What each iteration adds; never 0.
    pub(crate) step: Option<Word>,
}

impl Trips {
    /// `first`, `bound` and, for [`Step::By`], its value are values that are known before the loop.
    pub(crate) fn emit(
        editor: &mut Editor<'_>,
        code: &mut Vec<Instruction>,
        counted: &Counted,
        (first, bound, step): (Word, Word, Option<Word>),
    ) -> Self {
        let (uint, bool) = (editor.uint(), editor.bool());
        let below = !matches!(
            (counted.test, counted.step),
            (Test::Above { .. }, _) | (Test::Differs, Step::Down(_))
        );
        let (high, low) = if below {
            (bound, first)
        } else {
            (first, bound)
        };
        let span = editor.apply(code, Op::ISub, uint, &[high, low]);
        let (signed, inclusive) = match counted.test {
            Test::Differs => {
                return Trips {
                    count: span,
                    step: None,
                };
            }
            Test::Below { signed, inclusive } | Test::Above { signed, inclusive } => {
                (signed, inclusive)
            }
        };
        let one = editor.number(1);
        let (step, endless) = endless(editor, code, counted, (bound, step));
        let rounds = match step {
            None => span,
            // (span - 1) / step + 1, or span / step + 1 with the bound itself.
            Some(step) => {
                let span = if inclusive {
                    span
                } else {
                    editor.apply(code, Op::ISub, uint, &[span, one])
                };
                editor.apply(code, Op::UDiv, uint, &[span, step])
            }
        };
        let rounds = if step.is_some() || inclusive {
            editor.apply(code, Op::IAdd, uint, &[rounds, one])
        } else {
            rounds
        };
        let rounds = match endless {
            Some(endless) => {
                let most = editor.number(u32::MAX);
                editor.apply(code, Op::Select, uint, &[endless, most, rounds])
            }
            None => rounds,
        };
        let begins = match (below, signed, inclusive) {
            (true, false, false) => Op::ULessThan,
            (true, false, true) => Op::ULessThanEqual,
            (true, true, false) => Op::SLessThan,
            (true, true, true) => Op::SLessThanEqual,
            (false, false, false) => Op::UGreaterThan,
            (false, false, true) => Op::UGreaterThanEqual,
            (false, true, false) => Op::SGreaterThan,
            (false, true, true) => Op::SGreaterThanEqual,
        };
        let begins = editor.apply(code, begins, bool, &[first, bound]);
        let none = editor.number(0);
        let count = editor.apply(code, Op::Select, uint, &[begins, rounds, none]);
        Trips { count, step }
    }
}

/// A divisor for steps other than 1, and whether the variable runs past the end of its type without meeting the bound.
fn endless(
    editor: &mut Editor<'_>,
    code: &mut Vec<Instruction>,
    counted: &Counted,
    (bound, by): (Word, Option<Word>),
) -> (Option<Word>, Option<Word>) {
    let (uint, bool) = (editor.uint(), editor.bool());
    let (below, signed, inclusive) = match counted.test {
        Test::Below { signed, inclusive } => (true, signed, inclusive),
        Test::Above { signed, inclusive } => (false, signed, inclusive),
        Test::Differs => return (None, None),
    };
    let last = match (below, signed) {
        (true, false) => u32::MAX,
        (true, true) => i32::MAX.unsigned_abs(),
        (false, false) => 0,
        (false, true) => i32::MIN.unsigned_abs(),
    };
    let beyond = match (below, signed) {
        (true, false) => Op::UGreaterThan,
        (true, true) => Op::SGreaterThan,
        (false, false) => Op::ULessThan,
        (false, true) => Op::SLessThan,
    };
    match (counted.step, by) {
        (Step::Up(step) | Step::Down(step), _) => {
            // The bound must leave room for the step that leads past it.
            let room = if inclusive { step } else { step - 1 };
            let limit = if below {
                last.wrapping_sub(room)
            } else {
                last.wrapping_add(room)
            };
            let endless = (room > 0).then(|| {
                let limit = editor.number(limit);
                editor.apply(code, beyond, bool, &[bound, limit])
            });
            let divisor = (step > 1).then(|| editor.number(step));
            (divisor, endless)
        }
        (_, Some(by)) => {
            let none = editor.number(0);
            let stays = if signed {
                Op::SLessThanEqual
            } else {
                Op::IEqual
            };
            let stays = editor.apply(code, stays, bool, &[by, none]);
            let top = editor.number(if inclusive {
                last
            } else {
                last.wrapping_add(1)
            });
            let limit = editor.apply(code, Op::ISub, uint, &[top, by]);
            let past = editor.apply(code, beyond, bool, &[bound, limit]);
            let endless = editor.apply(code, Op::LogicalOr, bool, &[stays, past]);
            let one = editor.number(1);
            // `by` may be of a signed type.
            let by = editor.apply(code, Op::Bitcast, uint, &[by]);
            let divisor = editor.apply(code, Op::Select, uint, &[stays, one, by]);
            (Some(divisor), Some(endless))
        }
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::known;
    use crate::counted::{Counted, Step, Test, Variable};

    fn counted(first: u32, step: Step, test: Test) -> Counted {
        Counted {
            variable: Variable::Local(0),
            first: Some(first),
            step,
            test,
            comparison: 0,
            bound_at: 0,
            bound: 0,
        }
    }

    /// By doing it, up to a limit.
    fn counted_by_hand(mut value: u32, step: Step, test: Test, bound: u32) -> Option<u64> {
        for round in 0..3000 {
            let holds = match test {
                Test::Below {
                    signed: false,
                    inclusive: false,
                } => value < bound,
                Test::Below {
                    signed: false,
                    inclusive: true,
                } => value <= bound,
                Test::Below {
                    signed: true,
                    inclusive: false,
                } => value.cast_signed() < bound.cast_signed(),
                Test::Below {
                    signed: true,
                    inclusive: true,
                } => value.cast_signed() <= bound.cast_signed(),
                Test::Above {
                    signed: false,
                    inclusive: false,
                } => value > bound,
                Test::Above {
                    signed: false,
                    inclusive: true,
                } => value >= bound,
                Test::Above {
                    signed: true,
                    inclusive: false,
                } => value.cast_signed() > bound.cast_signed(),
                Test::Above {
                    signed: true,
                    inclusive: true,
                } => value.cast_signed() >= bound.cast_signed(),
                Test::Differs => value != bound,
            };
            if !holds {
                return Some(round);
            }
            value = match step {
                Step::Up(step) => value.wrapping_add(step),
                Step::Down(step) => value.wrapping_sub(step),
                _ => value,
            };
        }
        None
    }

    #[test]
    fn constant_loops_are_counted_as_often_as_they_run() {
        let corners = [
            0,
            1,
            2,
            5,
            900,
            0x7fff_fffe,
            0x7fff_ffff,
            0x8000_0000,
            0x8000_0003,
            u32::MAX - 1,
            u32::MAX,
        ];
        let mut tests = vec![];
        for (signed, inclusive) in [(false, false), (false, true), (true, false), (true, true)] {
            for step in [1, 2, 3, 700] {
                tests.push((Step::Up(step), Test::Below { signed, inclusive }));
                tests.push((Step::Down(step), Test::Above { signed, inclusive }));
            }
        }
        tests.push((Step::Up(1), Test::Differs));
        tests.push((Step::Down(1), Test::Differs));
        for (step, test) in tests {
            for first in corners {
                for bound in corners {
                    let by_hand = counted_by_hand(first, step, test, bound);
                    let found = known(&counted(first, step, test), Some(bound));
                    let far = found.is_none_or(|found| found >= 3000);
                    // What passes the end of its type may meet the bound later on, by chance.
                    let agree = by_hand == found || (by_hand.is_none() && far) || found.is_none();
                    assert!(
                        agree,
                        "{first} {step:?} {test:?} {bound}: {found:?} {by_hand:?}"
                    );
                }
            }
        }
    }
}
