//! Dropping what a module promises about itself: a driver may optimise by a promise, and nobody checked it.
//!
//! Arithmetic that "never wraps" lets a compiler fold a bounds check away; a false alignment is a faulting access; a
//! false number of iterations removes the exit of a loop. None of it is needed to run a module correctly.

use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Decoration, FunctionControl, LoopControl, MemoryAccess, Op};

/// Removes promises; the module computes the same.
pub(crate) fn drop_all(module: &mut Module) {
    module.annotations.retain(|annotation| {
        !annotation.operands.iter().any(|operand| {
            matches!(operand, Operand::Decoration(decoration) if DECORATIONS.contains(decoration))
        })
    });
    for function in &mut module.functions {
        for control in function.def.iter_mut().flat_map(|def| &mut def.operands) {
            if let Operand::FunctionControl(control) = control {
                // Guarded loops make functions impure, whatever they were.
                *control &= FunctionControl::INLINE | FunctionControl::DONT_INLINE;
            }
        }
        for instruction in function.all_inst_iter_mut() {
            match instruction.class.opcode {
                Op::LoopMerge => free_loop(instruction),
                Op::Load | Op::Store | Op::CopyMemory => unalign(instruction),
                _ => {}
            }
        }
    }
}

/// Keeps the two controls that are wishes.
fn free_loop(merge: &mut Instruction) {
    let control = merge.operands.iter().find_map(|operand| match operand {
        Operand::LoopControl(control) => {
            Some(*control & (LoopControl::UNROLL | LoopControl::DONT_UNROLL))
        }
        _ => None,
    });
    merge.operands.truncate(2);
    merge
        .operands
        .push(Operand::LoopControl(control.unwrap_or(LoopControl::NONE)));
}

/// Alignment follows from layouts, which the validator checked; only raw addresses need to state it.
fn unalign(access: &mut Instruction) {
    let mut drop_literal = false;
    access.operands.retain_mut(|operand| match operand {
        Operand::MemoryAccess(flags) => {
            drop_literal = flags.contains(MemoryAccess::ALIGNED);
            *flags -= MemoryAccess::ALIGNED;
            true
        }
        Operand::LiteralBit32(_) => !std::mem::take(&mut drop_literal),
        _ => true,
    });
}

const DECORATIONS: [Decoration; 6] = [
    Decoration::NoSignedWrap,
    Decoration::NoUnsignedWrap,
    // "The same in all invocations."
    Decoration::Uniform,
    Decoration::UniformId,
    Decoration::Alignment,
    Decoration::MaxByteOffset,
];
