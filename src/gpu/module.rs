//! A look at a SPIR-V module's structure, before a driver parses it.

use crate::error::Error;

/// Checks that the words are a module whose instructions fit, with a compute entry point of this name.
pub(crate) fn check(words: &[u32], entry: &str) -> Result<(), Error> {
    let header = words.get(..HEADER_WORDS).ok_or(MALFORMED)?;
    if header[0] != MAGIC {
        return Err(MALFORMED);
    }
    let mut rest = &words[HEADER_WORDS..];
    let mut found = false;
    while let Some(&first) = rest.first() {
        let (opcode, count) = (first & 0xffff, (first >> 16) as usize);
        let instruction = rest
            .get(..count)
            .filter(|i| !i.is_empty())
            .ok_or(MALFORMED)?;
        if opcode == ENTRY_POINT && instruction.get(1) == Some(&GL_COMPUTE) {
            found |= instruction
                .get(3..)
                .is_some_and(|name| is_text(name, entry));
        }
        rest = &rest[count..];
    }
    found.then_some(()).ok_or(Error::InvalidUse(
        "the module has no compute entry point of this name",
    ))
}

/// Whether the module, which is well-formed, uses descriptor set 1.
pub(crate) fn uses_desk(words: &[u32]) -> bool {
    let mut rest = words.get(HEADER_WORDS..).unwrap_or_default();
    while let Some(&first) = rest.first() {
        let (instruction, after) = rest.split_at(((first >> 16) as usize).clamp(1, rest.len()));
        if let [first, _, DESCRIPTOR_SET, 1] = instruction
            && first & 0xffff == DECORATE
        {
            return true;
        }
        rest = after;
    }
    false
}

/// Whether a literal string (little-endian bytes, ended by NUL) equals `text`.
fn is_text(words: &[u32], text: &str) -> bool {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.take_while(|byte| *byte != 0).eq(text.bytes())
}

const MAGIC: u32 = 0x0723_0203;
const HEADER_WORDS: usize = 5;
const ENTRY_POINT: u32 = 15;
const DECORATE: u32 = 71;
const DESCRIPTOR_SET: u32 = 34;
const GL_COMPUTE: u32 = 5;
const MALFORMED: Error = Error::InvalidUse("the module is not well-formed SPIR-V");

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: [u32; 5] = [MAGIC, 0x0001_0300, 0, 1, 0];

    #[test]
    fn a_module_must_have_a_header_whole_instructions_and_the_entry() {
        assert!(check(&[], "main").is_err());
        assert!(check(&[1, 2, 3, 4, 5], "main").is_err());
        assert!(check(&EMPTY, "main").is_err());
        let entry = |tail: &[u32]| [&EMPTY[..], tail].concat();
        let name = u32::from_le_bytes(*b"main");
        assert!(check(&entry(&[5 << 16 | 15, 5, 1, name, 0]), "main").is_ok());
        assert!(check(&entry(&[5 << 16 | 15, 5, 1, name, 0]), "mai").is_err());
        assert!(check(&entry(&[5 << 16 | 15, 0, 1, name, 0]), "main").is_err());
        assert!(check(&entry(&[6 << 16 | 15, 5, 1, name, 0]), "main").is_err());
        assert!(check(&entry(&[0]), "main").is_err());
    }
}
