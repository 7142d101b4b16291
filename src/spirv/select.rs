//! Keeping one entry point and what it reaches.
//!
//! Other entry points are removed, not refused: a file of several kernels is prepared once per kernel. Unreached
//! functions and unused module-scope variables go with them, so that the driver compiles what
//! runs and nothing else.

use crate::calls::callees_first;
use crate::constants::Constants;
use crate::parse::Parsed;
use crate::refusal::Refusal;
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{ExecutionMode, ExecutionModel, Op, Word};
use std::collections::HashSet;

/// Reduces the module to the compute entry point called `name`. Returns its functions, callees first.
pub(crate) fn keep_only(parsed: &mut Parsed, name: &str) -> Result<Vec<Word>, Refusal> {
    let function = find(&parsed.module, name)?;
    let calls = callees_first(&parsed.module, function);
    let size = local_size(parsed, function)?;
    let module = &mut parsed.module;

    module
        .entry_points
        .retain(|entry| is_entry(entry, function, name));
    module
        .execution_modes
        .retain(|mode| targets(mode, function));
    module.execution_modes.extend(size);
    module
        .functions
        .retain(|kept| kept.def_id().is_some_and(|id| calls.contains(&id)));

    let used: HashSet<Word> = module
        .functions
        .iter()
        .flat_map(|function| function.all_inst_iter())
        .flat_map(|instruction| instruction.operands.iter().filter_map(Operand::id_ref_any))
        .collect();
    module.types_global_values.retain(|value| {
        value.class.opcode != Op::Variable || value.result_id.is_some_and(|id| used.contains(&id))
    });
    drop_dangling(module);
    Ok(calls)
}

fn find(module: &Module, name: &str) -> Result<Word, Refusal> {
    let mut other_model = false;
    for entry in &module.entry_points {
        if let [
            Operand::ExecutionModel(model),
            Operand::IdRef(function),
            Operand::LiteralString(called),
            ..,
        ] = entry.operands.as_slice()
            && called == name
        {
            if *model == ExecutionModel::GLCompute {
                return Ok(*function);
            }
            other_model = true;
        }
    }
    let name = name.to_owned();
    Err(if other_model {
        Refusal::NotCompute { name }
    } else {
        Refusal::NoEntryPoint { name }
    })
}

/// One function may be several entry points, and one name may stand for several models.
fn is_entry(entry: &Instruction, wanted: Word, name: &str) -> bool {
    matches!(
        entry.operands.as_slice(),
        [Operand::ExecutionModel(ExecutionModel::GLCompute), Operand::IdRef(function), Operand::LiteralString(called), ..]
            if *function == wanted && called == name
    )
}

fn targets(instruction: &Instruction, id: Word) -> bool {
    instruction.operands.first().and_then(Operand::id_ref_any) == Some(id)
}

/// LocalSizeId as a LocalSize, since rspirv's module cannot hold the former.
fn local_size(parsed: &Parsed, function: Word) -> Result<Option<Instruction>, Refusal> {
    let mut sizes = parsed
        .mode_ids
        .iter()
        .filter(|mode| targets(mode, function));
    let Some(mode) = sizes.next() else {
        return Ok(None);
    };
    let [
        _,
        Operand::ExecutionMode(ExecutionMode::LocalSizeId),
        axes @ ..,
    ] = mode.operands.as_slice()
    else {
        let named = mode.operands.iter().find_map(|operand| match operand {
            Operand::ExecutionMode(mode) => Some(*mode),
            _ => None,
        });
        return Err(Refusal::ExecutionMode {
            mode: named.unwrap_or(ExecutionMode::LocalSizeId),
        });
    };
    let constants = Constants::of(&parsed.module);
    let mut operands = vec![
        Operand::IdRef(function),
        Operand::ExecutionMode(ExecutionMode::LocalSize),
    ];
    for axis in axes.iter().filter_map(Operand::id_ref_any) {
        let value = constants
            .unsigned(axis)
            .and_then(|value| u32::try_from(value).ok());
        let value = value.ok_or(Refusal::Unresolved {
            id: axis,
            what: "LocalSizeId",
        })?;
        operands.push(Operand::LiteralBit32(value));
    }
    Ok(Some(Instruction::new(
        Op::ExecutionMode,
        None,
        None,
        operands,
    )))
}

/// Removes what annotates or lists ids that are gone.
fn drop_dangling(module: &mut Module) {
    let defined: HashSet<Word> = module
        .all_inst_iter()
        .filter_map(|instruction| instruction.result_id)
        .collect();
    module.annotations.retain(|annotation| {
        annotation
            .operands
            .first()
            .and_then(Operand::id_ref_any)
            .is_some_and(|id| defined.contains(&id))
    });
    for entry in &mut module.entry_points {
        entry
            .operands
            .retain(|operand| operand.id_ref_any().is_none_or(|id| defined.contains(&id)));
    }
}

#[cfg(test)]
mod tests {
    use crate::samples::{Sample, accept_for, bytes_of, plain_target, storage};
    use crate::{Access, Refusal, SpecConstant, Target, prepare};

    #[test]
    fn a_local_size_by_ids_becomes_a_plain_one() {
        let sample = Sample {
            modes: "OpExecutionModeId %main LocalSizeId %x %c2 %c1",
            annotations: "OpDecorate %x SpecId 9",
            globals: "%x = OpSpecConstant %u 8",
            ..Sample::default()
        };
        for vulkan_minor in 2..=4 {
            let target = Target {
                vulkan_minor,
                ..plain_target()
            };
            let interface = accept_for(&sample, &[SpecConstant { id: 9, value: 32 }], &target);
            assert_eq!(interface.workgroup_size, [32, 2, 1]);
        }
    }

    #[test]
    fn other_entry_points_are_removed() {
        let sample = Sample {
            capabilities: r#"
                OpExtension "SPV_KHR_non_semantic_info"
                %print = OpExtInstImport "NonSemantic.DebugPrintf""#,
            interface: r#"%a
                OpEntryPoint GLCompute %second "second" %b"#,
            modes: r#"
                OpExecutionMode %main LocalSize 1 2 3
                OpExecutionMode %second LocalSize 4 5 6
                %text = OpString "text"
                OpName %b "b""#,
            annotations: "
                OpDecorate %a DescriptorSet 0
                OpDecorate %a Binding 0
                OpDecorate %b DescriptorSet 0
                OpDecorate %b Binding 1",
            globals: "
                %a = OpVariable %p_block StorageBuffer
                %b = OpVariable %p_block StorageBuffer",
            body: "
                OpLine %text 1 1
                %printed = OpExtInst %void %print 1 %text
                %n = OpArrayLength %u %a 0",
            functions: "
                %second = OpFunction %void None %fn
                %l = OpLabel
                %m = OpArrayLength %u %b 0
                OpReturn
                OpFunctionEnd",
        };
        let target = plain_target();
        let module = sample.bytes(&target);
        let cases = [("main", 0, [1, 2, 3]), ("second", 1, [4, 5, 6])];
        for (name, binding, workgroup_size) in cases {
            let prepared = prepare(&module, name, &[], &target).expect("acceptable");
            assert_eq!(
                prepared.interface.bindings,
                [storage(0, binding, 0, Access::Read)]
            );
            assert_eq!(prepared.interface.workgroup_size, workgroup_size);
            let text: Vec<u8> = bytes_of(&prepared.words);
            assert!(
                !text
                    .windows(5)
                    .any(|window| window == b"text\0" || window == b"NonSe")
            );
        }
        let refusal = prepare(&module, "third", &[], &target).expect_err("no such entry");
        assert_eq!(
            refusal,
            Refusal::NoEntryPoint {
                name: "third".to_owned()
            }
        );
    }
}
