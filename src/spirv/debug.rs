//! Dropping debug information, which is most of many modules, before anything has to read it.
//!
//! It means nothing to the device, its text is the client's, and Debian 12's validator refuses some that its own
//! compiler wrote (non-semantic array types whose length is a specialization constant).

use crate::scan::{HEADER_WORDS, instructions};
use rspirv::spirv::{Op, Word};
use std::collections::HashSet;

/// `words` without names, strings, lines and non-semantic instructions; lengths were checked by `scan`.
pub(crate) fn strip(words: &[u32]) -> Vec<u32> {
    let mut sets: HashSet<Word> = HashSet::new();
    let mut kept: Vec<u32> = words.iter().take(HEADER_WORDS).copied().collect();
    for instruction in instructions(words) {
        let opcode = instruction
            .first()
            .map(|first| first & 0xffff)
            .unwrap_or_default();
        let drop = if opcode == Op::ExtInstImport as u32 {
            let debug = is_non_semantic(instruction.get(2..).unwrap_or_default());
            sets.extend(instruction.get(1).filter(|_| debug));
            debug
        } else if opcode == Op::ExtInst as u32 {
            instruction.get(3).is_some_and(|set| sets.contains(set))
        } else {
            DROPPED.iter().any(|&dropped| dropped as u32 == opcode)
        };
        if !drop {
            kept.extend_from_slice(instruction);
        }
    }
    kept
}

/// Extended instruction sets of this prefix may be removed without changing what a module does.
fn is_non_semantic(name: &[u32]) -> bool {
    let bytes = name.iter().flat_map(|word| word.to_le_bytes());
    bytes.take(PREFIX.len()).eq(PREFIX.iter().copied())
}

/// Instructions of debug information, and decorations with strings, which only annotate.
const DROPPED: [Op; 12] = [
    Op::SourceContinued,
    Op::Source,
    Op::SourceExtension,
    Op::Name,
    Op::MemberName,
    Op::String,
    Op::Line,
    Op::NoLine,
    Op::ModuleProcessed,
    Op::DecorateString,
    Op::MemberDecorateString,
    // Carries nothing and may stand anywhere.
    Op::Nop,
];

const PREFIX: &[u8] = b"NonSemantic.";

#[cfg(test)]
mod tests {
    use super::strip;
    use crate::samples::{RICH, Sample, bytes_of, plain_target};
    use crate::{Refusal, prepare, scan};

    #[test]
    fn text_and_non_semantic_instructions_vanish() {
        let words = scan::words(RICH).expect("well-formed");
        let text = |words: &[u32]| {
            let bytes = bytes_of(words);
            let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
            [
                has(b"#version 450"),
                has(b"NonSemantic.Shader"),
                has(b"GLSL.std.450"),
            ]
        };
        assert_eq!(text(&words), [true, true, true]);
        assert_eq!(text(&strip(&words)), [false, false, true]);
    }

    #[test]
    fn a_set_that_means_something_stays_to_be_judged() {
        let sample = Sample {
            capabilities: r#"%set = OpExtInstImport "OpenCL.std""#,
            ..Sample::default()
        };
        let refusal = prepare(&sample.bytes(&plain_target()), "main", &[], &plain_target());
        assert_eq!(
            refusal,
            Err(Refusal::InstructionSet {
                name: "OpenCL.std".to_owned()
            })
        );
    }
}
