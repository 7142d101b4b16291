//! What a dispatch of the module must supply, checked against the limits of the device.

use crate::access::{Use, uses};
use crate::descriptors::{self, Descriptor, variables};
use crate::layout::{Types, round_up};
use crate::limits::MAX_INVOCATION_BYTES;
use crate::refusal::Refusal;
use crate::specialise::SpecEntry;
use crate::target::Target;
use rspirv::dr::{Module, Operand};
use rspirv::spirv::{BuiltIn, ExecutionMode, Op, StorageClass, Word};
use std::collections::{BTreeMap, HashMap};

/// The interface of a prepared module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The bindings that the entry point uses, by (set, binding).
    pub bindings: Vec<Binding>,
    /// Bytes of push constants, a multiple of 4; 0 if it uses none.
    pub push_constant_bytes: u32,
    /// Invocations of a workgroup by dimension.
    pub workgroup_size: [u32; 3],
    /// The specialization constants the client's module had, by id.
    pub spec_constants: Vec<SpecEntry>,
}

/// A binding of the client's module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Descriptor set in the client's module.
    pub set: u32,
    /// Binding in that set.
    pub binding: u32,
    /// Descriptors: 1, or the length of the array.
    pub count: u32,
    /// Sort of buffer.
    pub kind: BindingKind,
    /// What the code does to it; the union over an array, and over variables that share the binding.
    pub access: Access,
    /// Binding in set 0 of the prepared module; an array takes one.
    pub slot: u32,
}

/// Sort of buffer, as in `VkDescriptorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingKind {
    /// `VK_DESCRIPTOR_TYPE_STORAGE_BUFFER`.
    Storage,
    /// `VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER`.
    Uniform,
}

/// What the code does to a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No instruction writes it.
    Read,
    /// No instruction reads it; what is not written keeps its value.
    Write,
    /// Both, or not known.
    ReadWrite,
}

impl From<Use> for Access {
    fn from(use_: Use) -> Self {
        match (use_.read, use_.written) {
            (true, true) => Access::ReadWrite,
            (false, true) => Access::Write,
            // Asking for the length only is the harmless kind of reading.
            (_, false) => Access::Read,
        }
    }
}

/// The interface, with what `renumber` needs.
#[derive(Debug)]
pub(crate) struct Reflection {
    pub(crate) public: Interface,
    /// Descriptor variables with their slots.
    pub(crate) descriptors: Vec<(Descriptor, u32)>,
}

/// Reads the interface of a selected module; `calls` are its functions, callees first.
pub(crate) fn interface(
    module: &Module,
    calls: &[Word],
    spec_constants: Vec<SpecEntry>,
    target: &Target,
) -> Result<Reflection, Refusal> {
    let types = Types::of(module);
    let found = descriptors::find(module, &types)?;
    let uses = uses(module, &types, calls)?;
    let (bindings, descriptors) = assign(&found, &uses)?;
    let public = Interface {
        bindings,
        push_constant_bytes: push_constants(module, &types, target)?,
        workgroup_size: workgroup_size(module, &types, target)?,
        spec_constants,
    };
    check_workgroup_memory(module, &types, target)?;
    check_invocation_memory(module, &types)?;
    Ok(Reflection {
        public,
        descriptors,
    })
}

type Assigned = (Vec<Binding>, Vec<(Descriptor, u32)>);

/// Slots in the order of (set, binding); variables that share a place share the slot.
fn assign(found: &[Descriptor], uses: &HashMap<Word, Use>) -> Result<Assigned, Refusal> {
    let mut places: BTreeMap<(u32, u32), (Descriptor, Use)> = BTreeMap::new();
    for descriptor in found {
        let use_ = uses.get(&descriptor.variable).copied().unwrap_or_default();
        let (first, all) = places
            .entry((descriptor.set, descriptor.binding))
            .or_insert((*descriptor, Use::default()));
        if (first.kind, first.count) != (descriptor.kind, descriptor.count) {
            return Err(Refusal::BindingConflict {
                set: descriptor.set,
                binding: descriptor.binding,
            });
        }
        *all |= use_;
    }
    let bindings: Vec<Binding> = (0u32..)
        .zip(places.into_values())
        .map(
            |(
                slot,
                (
                    Descriptor {
                        set,
                        binding,
                        count,
                        kind,
                        ..
                    },
                    use_,
                ),
            )| Binding {
                set,
                binding,
                count,
                kind,
                access: use_.into(),
                slot,
            },
        )
        .collect();
    let slots: HashMap<_, _> = bindings
        .iter()
        .map(|binding| ((binding.set, binding.binding), binding.slot))
        .collect();
    let slot = |descriptor: &Descriptor| slots.get(&(descriptor.set, descriptor.binding)).copied();
    let descriptors = found
        .iter()
        .filter_map(|found| Some((*found, slot(found)?)))
        .collect();
    Ok((bindings, descriptors))
}

fn push_constants(module: &Module, types: &Types, target: &Target) -> Result<u32, Refusal> {
    let mut bytes = 0;
    for (_, _, block) in
        variables(module, types).filter(|(_, class, _)| *class == StorageClass::PushConstant)
    {
        let size = types
            .block_bytes(block)
            .ok_or(Refusal::Unsized { id: block })?;
        bytes = round_up(size, PUSH_CONSTANT_GRANULE_BYTES).max(bytes);
    }
    let limit = target.max_push_constant_bytes;
    u32::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes <= limit)
        .ok_or(Refusal::PushConstants { bytes, limit })
}

fn workgroup_size(module: &Module, types: &Types, target: &Target) -> Result<[u32; 3], Refusal> {
    let size = declared_size(module, types)?;
    let limit = target.max_workgroup_size;
    let mut checked = [0; 3];
    for ((checked, &size_on_axis), &limit_on_axis) in checked.iter_mut().zip(&size).zip(&limit) {
        *checked = u32::try_from(size_on_axis)
            .ok()
            .filter(|size| (1..=limit_on_axis).contains(size))
            .ok_or(Refusal::WorkgroupSize { size, limit })?;
    }
    let invocations = size
        .iter()
        .fold(1u64, |product, &axis| product.saturating_mul(axis));
    let limit = target.max_workgroup_invocations;
    if invocations > u64::from(limit) {
        return Err(Refusal::WorkgroupInvocations { invocations, limit });
    }
    Ok(checked)
}

/// The WorkgroupSize constant where there is one, else LocalSize: the former wins.
fn declared_size(module: &Module, types: &Types) -> Result<[u64; 3], Refusal> {
    if let Some(id) = types.decorations.built_in(BuiltIn::WorkgroupSize) {
        let axes = types.constants.parts(id).unwrap_or_default().iter();
        let axes: Option<Vec<u64>> = axes.map(|&axis| types.constants.unsigned(axis)).collect();
        let axes = axes.and_then(|axes| axes.try_into().ok());
        return axes.ok_or(Refusal::Unresolved {
            id,
            what: "WorkgroupSize",
        });
    }
    let mut modes = module
        .execution_modes
        .iter()
        .map(|mode| mode.operands.as_slice());
    modes
        .find_map(|operands| match operands {
            [
                _,
                Operand::ExecutionMode(ExecutionMode::LocalSize),
                Operand::LiteralBit32(x),
                Operand::LiteralBit32(y),
                Operand::LiteralBit32(z),
            ] => Some([x, y, z].map(|&axis| u64::from(axis))),
            _ => None,
        })
        .ok_or(Refusal::NoWorkgroupSize)
}

fn check_workgroup_memory(module: &Module, types: &Types, target: &Target) -> Result<(), Refusal> {
    let bytes = workgroup_bytes(module, types)?;
    let limit = target.max_workgroup_memory_bytes;
    if bytes > u64::from(limit) {
        return Err(Refusal::WorkgroupMemory { bytes, limit });
    }
    Ok(())
}

/// Bytes of workgroup memory as Vulkan counts them.
pub(crate) fn workgroup_bytes(module: &Module, types: &Types) -> Result<u64, Refusal> {
    let mut bytes = 0u64;
    for (_, _, type_) in
        variables(module, types).filter(|(_, class, _)| *class == StorageClass::Workgroup)
    {
        let (size, align) = types.std430(type_).ok_or(Refusal::Unsized { id: type_ })?;
        bytes = round_up(bytes, align).saturating_add(size);
    }
    Ok(bytes)
}

fn check_invocation_memory(module: &Module, types: &Types) -> Result<(), Refusal> {
    let private = variables(module, types).filter(|(_, class, _)| *class == StorageClass::Private);
    let instructions = module
        .functions
        .iter()
        .flat_map(|function| function.all_inst_iter());
    let function = instructions
        .filter(|instruction| instruction.class.opcode == Op::Variable)
        .filter_map(|variable| types.pointee(variable.result_type?));
    let mut bytes = 0u64;
    for type_ in private
        .map(|(_, _, type_)| type_)
        .chain(function.map(|(_, type_)| type_))
    {
        let (size, _) = types.std430(type_).ok_or(Refusal::Unsized { id: type_ })?;
        bytes = bytes.saturating_add(size);
    }
    if bytes > MAX_INVOCATION_BYTES {
        Err(Refusal::InvocationMemory { bytes })
    } else {
        Ok(())
    }
}

/// Vulkan's granularity of push constant ranges.
const PUSH_CONSTANT_GRANULE_BYTES: u64 = 4;
