//! From words to rspirv's data representation.

use crate::refusal::Refusal;
use rspirv::binary::{Consumer, ParseAction, parse_words};
use rspirv::dr::{Instruction, Loader, Module, ModuleHeader};
use rspirv::spirv::Op;

/// A module as read.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) module: Module,
    /// OpExecutionModeId, for which rspirv's module has no place.
    pub(crate) mode_ids: Vec<Instruction>,
}

/// Reads a module that the validator accepted.
pub(crate) fn parse(words: &[u32]) -> Result<Parsed, Refusal> {
    let mut reader = Reader {
        loader: Loader::new(),
        mode_ids: Vec::new(),
    };
    parse_words(words, &mut reader).map_err(|state| Refusal::Unreadable {
        reason: state.to_string(),
    })?;
    Ok(Parsed {
        module: reader.loader.module(),
        mode_ids: reader.mode_ids,
    })
}

/// rspirv's loader, minus what it cannot store.
struct Reader {
    loader: Loader,
    mode_ids: Vec<Instruction>,
}

impl Consumer for Reader {
    fn initialize(&mut self) -> ParseAction {
        self.loader.initialize()
    }

    fn finalize(&mut self) -> ParseAction {
        self.loader.finalize()
    }

    fn consume_header(&mut self, header: ModuleHeader) -> ParseAction {
        self.loader.consume_header(header)
    }

    fn consume_instruction(&mut self, instruction: Instruction) -> ParseAction {
        if instruction.class.opcode == Op::ExecutionModeId {
            self.mode_ids.push(instruction);
            return ParseAction::Continue;
        }
        self.loader.consume_instruction(instruction)
    }
}
