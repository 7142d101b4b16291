//! The descriptor variables of a module.

use crate::layout::{Type, Types};
use crate::limits::MAX_BINDINGS;
use crate::reflect::BindingKind;
use crate::refusal::Refusal;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Capability, Decoration, Op, StorageClass, Word};

/// A variable that stands for one descriptor or an array of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) variable: Word,
    pub(crate) set: u32,
    pub(crate) binding: u32,
    pub(crate) count: u32,
    pub(crate) kind: BindingKind,
}

/// All descriptor variables, in order of declaration.
pub(crate) fn find(module: &Module, types: &Types) -> Result<Vec<Descriptor>, Refusal> {
    let mut found = Vec::new();
    for (variable, class, pointee) in variables(module, types) {
        if matches!(class, StorageClass::Uniform | StorageClass::StorageBuffer) {
            found.push(read(variable, class, pointee, types)?);
        }
    }
    if found.len() > MAX_BINDINGS {
        return Err(Refusal::TooManyBindings);
    }
    Ok(found)
}

/// Module-scope variables as (id, storage class, type pointed at).
pub(crate) fn variables<'m>(
    module: &'m Module,
    types: &'m Types,
) -> impl Iterator<Item = (Word, StorageClass, Word)> + 'm {
    let variables = module
        .types_global_values
        .iter()
        .filter(|value| value.class.opcode == Op::Variable);
    variables.filter_map(|variable| {
        let (class, pointee) = types.pointee(variable.result_type?)?;
        Some((variable.result_id?, class, pointee))
    })
}

/// Length of the descriptor array that a pointer of type `pointer` points at; `None` for any other pointer.
pub(crate) fn array_length(types: &Types, pointer: Word) -> Option<(StorageClass, Word)> {
    let (class, pointee) = types.pointee(pointer)?;
    match types.get(pointee)? {
        Type::Array { length, .. } if is_descriptor_array(types, class, pointee) => {
            Some((class, *length))
        }
        _ => None,
    }
}

/// Whether a variable of this class and type is an array of buffers.
pub(crate) fn is_descriptor_array(types: &Types, class: StorageClass, type_: Word) -> bool {
    matches!(class, StorageClass::Uniform | StorageClass::StorageBuffer)
        && matches!(types.get(type_), Some(Type::Array { element, .. }) if is_block(types, *element))
}

/// Arrays of buffers that the module may index with what is no constant.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DynamicIndexing {
    storage: bool,
    uniform: bool,
}

impl DynamicIndexing {
    /// By the capabilities that the module declares; the gate knows that the device has them.
    pub(crate) fn of(module: &Module) -> Self {
        let declares = |wanted| {
            module
                .capabilities
                .iter()
                .any(|capability| capability.operands.first() == Some(&Operand::Capability(wanted)))
        };
        DynamicIndexing {
            storage: declares(Capability::StorageBufferArrayDynamicIndexing),
            uniform: declares(Capability::UniformBufferArrayDynamicIndexing),
        }
    }

    /// The storage buffers of old modules are in the class of uniform ones.
    fn allows(self, class: StorageClass) -> bool {
        self.storage || (self.uniform && class == StorageClass::Uniform)
    }
}

/// Checks that an access chain of such an array begins with a constant below its length, or with a value that `clamp`
/// bounds: buffer robustness does not cover the choice of the buffer.
pub(crate) fn check_index(
    types: &Types,
    (class, length): (StorageClass, Word),
    dynamic: DynamicIndexing,
    chain: &Instruction,
) -> Result<(), Refusal> {
    let index = chain.operands.get(1).and_then(Operand::id_ref_any);
    let id = index.unwrap_or_default();
    match (
        types.constants.unsigned(id),
        types.constants.unsigned(length),
    ) {
        (Some(index), Some(length)) if index < length => Ok(()),
        (None, Some(_)) if dynamic.allows(class) => Ok(()),
        _ => Err(Refusal::DescriptorIndex { id }),
    }
}

fn read(
    variable: Word,
    class: StorageClass,
    pointee: Word,
    types: &Types,
) -> Result<Descriptor, Refusal> {
    let (block, count) = match types.get(pointee) {
        Some(Type::RuntimeArray { .. }) => {
            return Err(Refusal::RuntimeDescriptorArray { id: variable });
        }
        Some(Type::Array { element, length }) => {
            let count = types
                .constants
                .unsigned(*length)
                .and_then(|count| u32::try_from(count).ok());
            let count = count.filter(|&count| count > 0);
            (
                *element,
                count.ok_or(Refusal::Unresolved {
                    id: *length,
                    what: "length of a descriptor array",
                })?,
            )
        }
        _ => (pointee, 1),
    };
    let kind = if class == StorageClass::StorageBuffer
        || types.decorations.has(block, Decoration::BufferBlock)
    {
        BindingKind::Storage
    } else {
        BindingKind::Uniform
    };
    if !is_block(types, block) {
        let reason = "a buffer variable must be a block or an array of blocks; wrap it in one";
        return Err(Refusal::Instruction {
            opcode: Op::Variable,
            id: variable,
            reason,
        });
    }
    let place = |decoration| types.decorations.value(variable, decoration);
    match (place(Decoration::DescriptorSet), place(Decoration::Binding)) {
        (Some(set), Some(binding)) => Ok(Descriptor {
            variable,
            set,
            binding,
            count,
            kind,
        }),
        _ => Err(Refusal::Undecorated { id: variable }),
    }
}

fn is_block(types: &Types, id: Word) -> bool {
    matches!(types.get(id), Some(Type::Struct { .. }))
        && (types.decorations.has(id, Decoration::Block)
            || types.decorations.has(id, Decoration::BufferBlock))
}

#[cfg(test)]
mod tests {
    use crate::samples::{Sample, accept, refuse, refuse_with, storage};
    use crate::{Access, Binding, Refusal, SpecConstant, SpecEntry};

    const ARRAY: Sample<'static> = Sample {
        capabilities: "",
        interface: "%many",
        modes: "",
        annotations: "
            OpDecorate %many DescriptorSet 0
            OpDecorate %many Binding 4
            OpDecorate %length SpecId 5",
        globals: "
            %length = OpSpecConstant %u 2
            %twice = OpSpecConstantOp %u IMul %length %c2
            %array = OpTypeArray %block %twice
            %p_array = OpTypePointer StorageBuffer %array
            %many = OpVariable %p_array StorageBuffer",
        body: "
            %p3 = OpAccessChain %p_u %many %c3 %c0 %c0
            OpStore %p3 %c1",
        functions: "",
    };

    #[test]
    fn an_array_of_buffers_has_the_size_its_constants_give() {
        let interface = accept(&ARRAY, &[SpecConstant { id: 5, value: 3 }]);
        assert_eq!(
            interface.bindings,
            [Binding {
                count: 6,
                ..storage(0, 4, 0, Access::Write)
            }]
        );
        assert_eq!(
            interface.spec_constants,
            [SpecEntry {
                id: 5,
                size_bytes: 4
            }]
        );
        assert_eq!(accept(&ARRAY, &[]).bindings[0].count, 4);
    }

    #[test]
    fn an_index_beyond_an_array_of_buffers_is_refused() {
        let refusal = refuse_with(&ARRAY, &[SpecConstant { id: 5, value: 1 }]);
        assert!(
            matches!(refusal, Refusal::DescriptorIndex { .. }),
            "{refusal}"
        );
        let dynamic = Sample {
            body: "
                %p3 = OpAccessChain %p_u %many %c0 %c0 %c0
                %x = OpLoad %u %p3
                %px = OpAccessChain %p_u %many %x %c0 %c0
                OpStore %px %c1",
            ..ARRAY
        };
        let refusal = refuse(&dynamic);
        assert!(
            matches!(refusal, Refusal::DescriptorIndex { .. }),
            "{refusal}"
        );
    }

    #[test]
    fn an_array_of_buffers_without_a_size_is_refused() {
        let sample = Sample {
            capabilities: r#"OpCapability RuntimeDescriptorArray
                OpExtension "SPV_EXT_descriptor_indexing""#,
            ..Sample::default()
        };
        assert_eq!(refuse(&sample).code(), 15);
    }
}
