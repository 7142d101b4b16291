//! Telling that a budget is used up: from what place of a shader, and how.

use crate::calls::callee;
use crate::code::{Code, function};
use crate::daemon_set::DaemonSet;
use crate::edit::{Editor, act, id};
use crate::facts::Facts;
use crate::flow::Flow;
use crate::guard::{Guard, Weight};
use crate::splice::{Place, Splices};
use rspirv::dr::{Function, Instruction};
use rspirv::spirv::{GlslStd450Op, Op, Word};

/// The function that tells of a budget that is used up, if it is.
pub(crate) fn declare_report(editor: &mut Editor<'_>, set: &mut DaemonSet, name: Word) {
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

impl Guard<'_, '_> {
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
    pub(crate) fn report_all(
        &mut self,
        facts: &Facts<'_>,
        weights: &[Weight],
        splices: &mut Splices,
    ) {
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

    /// The end of the function, wherever a loop without another way out is left.
    pub(crate) fn leave(&mut self, function: &Function, is_entry: bool) -> Vec<Instruction> {
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
}

/// Where one is after a loop: behind its merge block, or before a return inside of it.
pub(crate) fn behind(flow: &Flow, at: usize) -> Vec<Place> {
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
