//! The first look: sizes, header, and shapes that would lead a recursive reader astray.

use crate::limits::{MAX_FUNCTIONS, MAX_ID_BOUND, MAX_MODULE_BYTES, MAX_NESTING};
use crate::refusal::Refusal;
use rspirv::spirv::{MAGIC_NUMBER, Op};
use std::iter;

/// The words of `module`, which is safe to give to the validator.
pub(crate) fn words(module: &[u8]) -> Result<Vec<u32>, Refusal> {
    let bytes = module.len();
    if bytes > MAX_MODULE_BYTES {
        return Err(Refusal::TooLarge { bytes });
    }
    let (chunks, rest) = module.as_chunks::<4>();
    let words: Vec<u32> = chunks
        .iter()
        .map(|chunk| u32::from_le_bytes(*chunk))
        .collect();
    let &[magic, _version, _generator, bound, _reserved, ..] = words.as_slice() else {
        return Err(Refusal::Truncated { bytes });
    };
    if magic != MAGIC_NUMBER {
        return Err(Refusal::NotSpirv { magic });
    }
    if !rest.is_empty() {
        return Err(Refusal::Truncated { bytes });
    }
    if bound == 0 || bound > MAX_ID_BOUND {
        return Err(Refusal::IdBound { bound });
    }
    check_shape(&words, bound)?;
    Ok(words)
}

/// The instructions of a module, each with its first word; ends early where one has no length or too much.
pub(crate) fn instructions(words: &[u32]) -> impl Iterator<Item = &[u32]> {
    let mut rest = words.get(HEADER_WORDS..).unwrap_or_default();
    iter::from_fn(move || {
        let length = (rest.first()? >> 16) as usize;
        let (instruction, after) = rest.split_at_checked(length).filter(|_| length > 0)?;
        rest = after;
        Some(instruction)
    })
}

/// Walks the instructions once. Ids out of range are left for the validator to name.
fn check_shape(words: &[u32], bound: u32) -> Result<(), Refusal> {
    let mut depths = vec![0u8; bound as usize];
    let mut functions = 0usize;
    let mut word = HEADER_WORDS;
    for instruction in instructions(words) {
        word += instruction.len();
        let &[first, ref operands @ ..] = instruction else {
            continue;
        };
        let opcode = first & 0xffff;
        if opcode == Op::Function as u32 {
            functions += 1;
            if functions > MAX_FUNCTIONS {
                return Err(Refusal::TooManyFunctions);
            }
        } else if let (Some(parts), Some(&id)) =
            (parts_of_type(opcode, instruction), operands.first())
        {
            let deepest = parts
                .iter()
                .filter_map(|&part| depths.get(part as usize))
                .max();
            let depth = deepest.map_or(1, |depth| depth + 1);
            if depth > MAX_NESTING {
                return Err(Refusal::TooDeep { id });
            }
            if let Some(slot) = depths.get_mut(id as usize) {
                *slot = depth.max(*slot);
            }
        }
    }
    if word < words.len() {
        return Err(Refusal::BrokenInstruction { word });
    }
    Ok(())
}

/// The ids of the types that a composite type is made of.
fn parts_of_type(opcode: u32, instruction: &[u32]) -> Option<&[u32]> {
    let range = if [
        Op::TypeVector as u32,
        Op::TypeMatrix as u32,
        Op::TypeArray as u32,
        Op::TypeRuntimeArray as u32,
    ]
    .contains(&opcode)
    {
        2..3
    } else if opcode == Op::TypeStruct as u32 || opcode == Op::TypeFunction as u32 {
        2..instruction.len().max(2)
    } else if opcode == Op::TypePointer as u32 {
        3..4
    } else {
        return None;
    };
    instruction.get(range)
}

/// Words before the first instruction.
pub(crate) const HEADER_WORDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::words;
    use crate::limits::{MAX_FUNCTIONS, MAX_ID_BOUND, MAX_MODULE_BYTES, MAX_NESTING};
    use crate::refusal::Refusal;
    use crate::samples::{NOOP, bytes_of};

    fn scan(body: &[u32]) -> Result<Vec<u32>, Refusal> {
        let header = [0x0723_0203, 0x0001_0500, 0, 1000, 0];
        words(&bytes_of(&[&header, body].concat()))
    }

    #[test]
    fn sizes_are_checked_before_anything_is_read() {
        let bytes = MAX_MODULE_BYTES + 4;
        assert_eq!(words(&vec![0; bytes]), Err(Refusal::TooLarge { bytes }));
        assert_eq!(words(&[]), Err(Refusal::Truncated { bytes: 0 }));
        assert_eq!(words(&NOOP[..16]), Err(Refusal::Truncated { bytes: 16 }));
        assert_eq!(
            words(&NOOP[..NOOP.len() - 1]),
            Err(Refusal::Truncated {
                bytes: NOOP.len() - 1
            })
        );
    }

    #[test]
    fn another_byte_order_and_absurd_bounds_are_refused() {
        let swapped: Vec<u8> = NOOP
            .chunks(4)
            .flat_map(|word| word.iter().rev().copied())
            .collect();
        assert_eq!(
            words(&swapped),
            Err(Refusal::NotSpirv { magic: 0x0302_2307 })
        );
        for bound in [0, MAX_ID_BOUND + 1, u32::MAX] {
            let header = [0x0723_0203, 0x0001_0500, 0, bound, 0];
            assert_eq!(words(&bytes_of(&header)), Err(Refusal::IdBound { bound }));
        }
    }

    #[test]
    fn broken_lengths_are_named_by_their_place() {
        assert_eq!(
            scan(&[0x0000_0011]),
            Err(Refusal::BrokenInstruction { word: 5 })
        );
        assert_eq!(
            scan(&[0x0002_0011, 1, 0xffff_0011]),
            Err(Refusal::BrokenInstruction { word: 7 })
        );
    }

    #[test]
    fn nesting_is_bounded_before_the_validator_recurses() {
        let arrays = |count: u32| -> Vec<u32> {
            (0..count)
                .flat_map(|id| [0x0004_001c, id + 2, id + 1, 1])
                .collect()
        };
        let limit = u32::from(MAX_NESTING);
        assert!(scan(&arrays(limit)).is_ok());
        assert_eq!(
            scan(&arrays(limit + 1)),
            Err(Refusal::TooDeep { id: limit + 2 })
        );
    }

    #[test]
    fn functions_are_counted() {
        let functions = [0x0005_0036, 1, 2, 0, 3].repeat(MAX_FUNCTIONS);
        assert!(scan(&functions).is_ok());
        assert_eq!(
            scan(&[functions, vec![0x0005_0036, 1, 2, 0, 3]].concat()),
            Err(Refusal::TooManyFunctions)
        );
    }
}
