//! What the code does to each module-scope variable: whether it reads it, whether it writes it.
//!
//! With logical addressing and without variable pointers every pointer has one root in its function, a variable
//! or a parameter, found by following access chains. What a function does to its parameters is worked out before
//! its callers are looked at, so one pass over each function is enough. (Today's validator lets only workgroup
//! and private variables be passed to functions; later ones may let buffers.) A use that is not understood counts as
//! both. NonWritable and NonReadable decorations are not consulted: they are the client's claim, and the code says.

use crate::calls::callee;
use crate::descriptors::{DynamicIndexing, array_length, check_index};
use crate::layout::Types;
use crate::refusal::Refusal;
use rspirv::dr::{Function, Instruction, Module};
use rspirv::spirv::{Op, Word};
use std::collections::HashMap;
use std::ops::BitOrAssign;

/// How something is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) read: bool,
    pub(crate) written: bool,
}

impl Use {
    const NONE: Use = Use {
        read: false,
        written: false,
    };
    const READ: Use = Use {
        read: true,
        written: false,
    };
    const WRITE: Use = Use {
        read: false,
        written: true,
    };
    const BOTH: Use = Use {
        read: true,
        written: true,
    };
}

impl BitOrAssign for Use {
    fn bitor_assign(&mut self, other: Self) {
        self.read |= other.read;
        self.written |= other.written;
    }
}

/// Uses by variable. `calls` lists the functions, callees first.
///
/// # Errors
///
/// Uses of descriptor arrays other than through a constant index.
pub(crate) fn uses(
    module: &Module,
    types: &Types,
    calls: &[Word],
) -> Result<HashMap<Word, Use>, Refusal> {
    let functions: HashMap<Word, &Function> = module
        .functions
        .iter()
        .filter_map(|function| Some((function.def_id()?, function)))
        .collect();
    let globals: HashMap<Word, Word> = module
        .types_global_values
        .iter()
        .filter(|value| value.class.opcode == Op::Variable)
        .filter_map(|variable| Some((variable.result_id?, variable.result_type?)))
        .collect();
    let mut analysis = Analysis {
        types,
        globals,
        dynamic: DynamicIndexing::of(module),
        parameters: HashMap::new(),
        uses: HashMap::new(),
    };
    for function in calls.iter().filter_map(|id| functions.get(id)) {
        analysis.function(function)?;
    }
    Ok(analysis.uses)
}

struct Analysis<'m> {
    types: &'m Types,
    /// Type by module-scope variable.
    globals: HashMap<Word, Word>,
    dynamic: DynamicIndexing,
    /// Parameters by function.
    parameters: HashMap<Word, Vec<Word>>,
    /// Uses by variable and by parameter; ids are unique in the module.
    uses: HashMap<Word, Use>,
}

impl Analysis<'_> {
    fn function(&mut self, function: &Function) -> Result<(), Refusal> {
        let parameters: Vec<Word> = function
            .parameters
            .iter()
            .filter_map(|parameter| parameter.result_id)
            .collect();
        let mut pointers = Pointers(HashMap::new());
        for parameter in &function.parameters {
            if let (Some(id), Some(type_)) = (parameter.result_id, parameter.result_type) {
                pointers.add(id, id, type_);
            }
        }
        for instruction in function.blocks.iter().flat_map(|block| &block.instructions) {
            self.instruction(instruction, &mut pointers)?;
        }
        if let Some(id) = function.def_id() {
            self.parameters.insert(id, parameters);
        }
        Ok(())
    }

    fn instruction(
        &mut self,
        instruction: &Instruction,
        pointers: &mut Pointers,
    ) -> Result<(), Refusal> {
        let opcode = instruction.class.opcode;
        let derives = matches!(
            opcode,
            Op::AccessChain | Op::InBoundsAccessChain | Op::CopyObject
        );
        for (at, operand) in instruction.operands.iter().enumerate() {
            let Some(id) = operand.id_ref_any() else {
                continue;
            };
            let global = self.globals.get(&id).map(|&type_| (id, type_));
            let Some((root, type_)) = global.or_else(|| pointers.get(id)) else {
                continue;
            };
            self.check_descriptor_array(instruction, id, type_)?;
            if derives && at == 0 {
                if let (Some(result), Some(type_)) =
                    (instruction.result_id, instruction.result_type)
                {
                    pointers.add(result, root, type_);
                }
            } else {
                let use_ = self.use_of(instruction, at);
                *self.uses.entry(root).or_default() |= use_;
            }
        }
        Ok(())
    }

    /// What `instruction` does to the pointer that is its operand `at`.
    fn use_of(&self, instruction: &Instruction, at: usize) -> Use {
        match (instruction.class.opcode, at) {
            (Op::Load | Op::AtomicLoad, 0) | (Op::CopyMemory, 1) => Use::READ,
            (Op::Store | Op::AtomicStore | Op::CopyMemory, 0) => Use::WRITE,
            (Op::ArrayLength, 0) => Use::NONE,
            (Op::FunctionCall, 1..) => {
                let parameters = callee(instruction).and_then(|id| self.parameters.get(&id));
                let parameter = parameters.and_then(|parameters| parameters.get(at - 1));
                // A known parameter without an entry is one that nothing touches.
                parameter.map_or(Use::BOTH, |id| {
                    self.uses.get(id).copied().unwrap_or(Use::NONE)
                })
            }
            _ => Use::BOTH,
        }
    }

    fn check_descriptor_array(
        &self,
        instruction: &Instruction,
        pointer: Word,
        type_: Word,
    ) -> Result<(), Refusal> {
        let Some(array) = array_length(self.types, type_) else {
            return Ok(());
        };
        match instruction.class.opcode {
            Op::AccessChain | Op::InBoundsAccessChain if instruction.operands.len() > 1 => {
                check_index(self.types, array, self.dynamic, instruction)
            }
            Op::AccessChain | Op::InBoundsAccessChain | Op::CopyObject | Op::FunctionCall => Ok(()),
            opcode => {
                let reason = "an array of descriptors can only be indexed; use its elements";
                Err(Refusal::Instruction {
                    opcode,
                    id: pointer,
                    reason,
                })
            }
        }
    }
}

/// Root and type by pointer, for the pointers of one function that descend from variables or parameters.
struct Pointers(HashMap<Word, (Word, Word)>);

impl Pointers {
    fn add(&mut self, id: Word, root: Word, type_: Word) {
        self.0.insert(id, (root, type_));
    }

    fn get(&self, id: Word) -> Option<(Word, Word)> {
        self.0.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{Use, uses};
    use crate::calls::callees_first;
    use crate::layout::Types;
    use crate::parse::parse;
    use crate::samples::{Sample, plain_target};
    use rspirv::spirv::{Op, Word};

    /// Uses of the module-scope variables in order of declaration, of a module that need not be valid.
    fn uses_in(sample: &Sample<'_>) -> Vec<Use> {
        let bytes = sample.bytes(&plain_target());
        let words = crate::scan::words(&bytes).expect("well-formed");
        let module = parse(&words).expect("readable").module;
        let main = module.entry_points[0].operands[1]
            .id_ref_any()
            .expect("a function");
        let types = Types::of(&module);
        let uses =
            uses(&module, &types, &callees_first(&module, main)).expect("no descriptor arrays");
        let variables = module
            .types_global_values
            .iter()
            .filter(|value| value.class.opcode == Op::Variable);
        let ids: Vec<Word> = variables
            .filter_map(|variable| variable.result_id)
            .collect();
        ids.iter()
            .map(|id| uses.get(id).copied().unwrap_or_default())
            .collect()
    }

    #[test]
    fn uses_follow_pointers_through_calls() {
        let sample = Sample {
            globals: "
                %a = OpVariable %p_block StorageBuffer
                %b = OpVariable %p_block StorageBuffer
                %c = OpVariable %p_block StorageBuffer
                %helper_fn = OpTypeFunction %void %p_block %p_block %p_block",
            body: "%r1 = OpFunctionCall %void %outer %a %b %c",
            functions: "
                %outer = OpFunction %void None %helper_fn
                %from = OpFunctionParameter %p_block
                %to = OpFunctionParameter %p_block
                %none = OpFunctionParameter %p_block
                %l1 = OpLabel
                %r2 = OpFunctionCall %void %inner %to %from %none
                OpReturn
                OpFunctionEnd
                %inner = OpFunction %void None %helper_fn
                %target = OpFunctionParameter %p_block
                %source = OpFunctionParameter %p_block
                %unused = OpFunctionParameter %p_block
                %l2 = OpLabel
                %same = OpCopyObject %p_block %source
                %ps = OpAccessChain %p_u %same %c0 %c0
                %pt = OpAccessChain %p_u %target %c0 %c0
                %x = OpLoad %u %ps
                OpStore %pt %x
                OpReturn
                OpFunctionEnd",
            ..Sample::default()
        };
        assert_eq!(uses_in(&sample), [Use::READ, Use::WRITE, Use::NONE]);
    }

    #[test]
    fn a_use_that_is_not_understood_counts_as_both() {
        let sample = Sample {
            globals: "
                %yes = OpConstantTrue %bool
                %a = OpVariable %p_block StorageBuffer
                %b = OpVariable %p_block StorageBuffer",
            body: "%either = OpSelect %p_block %yes %a %b",
            ..Sample::default()
        };
        assert_eq!(uses_in(&sample), [Use::BOTH, Use::BOTH]);
    }
}
