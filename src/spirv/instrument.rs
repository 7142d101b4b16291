//! From a module that passed the gate to one that may share a device: hardened, sliceable, bounded.
//!
//! Passes that need code before the client's do not touch its entry point: a new one calls it, so that it may
//! return wherever it likes.

use crate::clamp::{self, Buffers};
use crate::code::{Code, function, store};
use crate::daemon_set::{DaemonSet, local_index, pointee};
use crate::edit::Editor;
use crate::grid;
use crate::guard::{self, Budgets};
use crate::initialise::{self, Workgroup};
use crate::layout::{Type, Types, round_up};
use crate::promises;
use crate::reflect::workgroup_bytes;
use crate::refusal::Refusal;
use crate::target::Target;
use rspirv::dr::{Module, Operand};
use rspirv::spirv::{Op, StorageClass, Word};

/// Rewrites the module; `calls` are its functions, callees first.
pub(crate) fn instrument(
    module: &mut Module,
    calls: &[Word],
    workgroup_size: [u32; 3],
    target: &Target,
) -> Result<(), Refusal> {
    let workgroup = if target.zero_initialize_workgroup_memory {
        Workgroup::Initialised
    } else {
        Workgroup::Cleared
    };
    let buffers = if target.robust_buffer_access2 {
        Buffers::Robust
    } else {
        Buffers::Clamped
    };
    promises::drop_all(module);
    initialise::everything(module, workgroup)?;
    clamp::indices(module, buffers)?;

    let types = Types::of(module);
    let mut editor = Editor::new(module);
    let mut set = DaemonSet::default();
    let budgets = guard::loops(&mut editor, &types, &mut set, calls)?;
    let grids = grid::make_private(&mut editor)?;
    let mut code = Code::new(&mut editor);
    if workgroup == Workgroup::Cleared {
        clear(&mut editor, &types, &mut code, workgroup_size);
    }
    if !grids.is_empty() {
        let uint = editor.uint();
        let uint3 = editor.vector(uint, 3);
        let groups = set.load_groups(&mut editor, &mut code.open);
        for (variable, type_) in grids {
            let value = if type_ == uint3 {
                groups
            } else {
                editor.apply(&mut code.open, Op::Bitcast, type_, &[groups])
            };
            store(&mut code.open, variable, value);
        }
    }
    if budgets.own.is_some() || budgets.uniform.is_some() {
        let used = workgroup_bytes(editor.module, &types)?;
        let room = round_up(used, SHARED_BYTES) + SHARED_BYTES;
        // A kernel that leaves no word takes its chance: its invocations may see a budget that others just used up.
        let shares = budgets.uniform.is_some() && room <= target.max_workgroup_memory_bytes.into();
        grant(&mut editor, &mut set, &mut code, (budgets, shares));
    }
    if !code.is_empty() {
        wrap(&mut editor, code);
    }
    Ok(())
}

/// Takes the job's budget from its word.
///
/// Another workgroup may just have used it up and said so. A workgroup with barriers in its loops must not see that in
/// some of its invocations only, so the first one looks for all.
fn grant(
    editor: &mut Editor<'_>,
    set: &mut DaemonSet,
    code: &mut Code,
    (budgets, shares): (Budgets, bool),
) {
    let (uint, bool) = (editor.uint(), editor.bool());
    let word = if shares {
        let shared = editor.variable(StorageClass::Workgroup, uint, None);
        let own = local_index(editor, &mut code.open);
        let first = editor.number(0);
        let is_first = editor.apply(&mut code.open, Op::IEqual, bool, &[own, first]);
        code.when(editor, is_first, |editor, code| {
            let word = set.load_budget(editor, &mut code.open);
            store(&mut code.open, shared, word);
        });
        code.barrier(editor);
        editor.apply(&mut code.open, Op::Load, uint, &[shared])
    } else {
        set.load_budget(editor, &mut code.open)
    };
    for budget in [budgets.own, budgets.uniform].into_iter().flatten() {
        store(&mut code.open, budget, word);
    }
}

/// Zeroes workgroup memory: the invocations share the elements of each array, the first one does the rest.
fn clear(editor: &mut Editor<'_>, types: &Types, code: &mut Code, workgroup_size: [u32; 3]) {
    let variables: Vec<Word> = editor
        .module
        .types_global_values
        .iter()
        .filter(|value| {
            value.operands.first() == Some(&Operand::StorageClass(StorageClass::Workgroup))
                && value.class.opcode == Op::Variable
        })
        .filter_map(|variable| variable.result_id)
        .collect();
    if variables.is_empty() {
        return;
    }
    let bool = editor.bool();
    let own = local_index(editor, &mut code.open);
    let step = editor.number(workgroup_size.iter().product());
    for variable in variables {
        let Some(type_) = pointee(editor, variable) else {
            continue;
        };
        let array = match types.get(type_) {
            Some(Type::Array { element, length }) => types
                .constants
                .unsigned(*length)
                .map(|length| (*element, length)),
            _ => None,
        };
        if let Some((element, length)) = array {
            let end = editor.number(u32::try_from(length).unwrap_or(u32::MAX));
            let pointer = editor.pointer(StorageClass::Workgroup, element);
            let zero = editor.null(element);
            code.each(editor, (own, end, step), |editor, code, at| {
                let place = editor.apply(&mut code.open, Op::AccessChain, pointer, &[variable, at]);
                store(&mut code.open, place, zero);
            });
        } else {
            let (zero, first) = (editor.null(type_), editor.number(0));
            let is_first = editor.apply(&mut code.open, Op::IEqual, bool, &[own, first]);
            code.when(editor, is_first, |_, code| {
                store(&mut code.open, variable, zero);
            });
        }
    }
    code.barrier(editor);
}

/// Makes a new entry point of `code` and a call of the old one.
fn wrap(editor: &mut Editor<'_>, mut code: Code) {
    let (void, procedure, wrapper) = (editor.void(), editor.procedure(&[]), editor.id());
    let mut old = None;
    for declaration in editor
        .module
        .entry_points
        .iter_mut()
        .chain(&mut editor.module.execution_modes)
    {
        let mut functions = declaration.operands.iter_mut();
        // An entry point's first operand is the execution model.
        if let Some(Operand::IdRef(function)) =
            functions.find(|operand| matches!(operand, Operand::IdRef(_)))
        {
            old = Some(std::mem::replace(function, wrapper));
        }
    }
    let Some(old) = old else { return };
    editor.apply(&mut code.open, Op::FunctionCall, void, &[old]);
    let function = function(wrapper, (void, procedure), vec![], code.finish());
    editor.module.functions.push(function);
}

/// A word that the invocations of a workgroup share.
const SHARED_BYTES: u64 = 4;
