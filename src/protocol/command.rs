//! Commands: the payload of a submit. Fixed little-endian structures, each a multiple of 8 bytes, read from a private copy.
//!
//! ```text
//! Header | body by opcode | push constants, padded to 8 | bindings
//! ```
//! Operations are Vulkan's, with explicit bindings instead of descriptor sets and no command buffers: a front end
//! flattens those. Opcodes 16 to 31 are reserved for indirect dispatches, timestamps and timelines.

use crate::ErrorCode;
use crate::handle::{BufferId, ProgramId};
use crate::limits::{MAX_BINDINGS, MAX_PUSH_BYTES, MAX_UPDATE_BYTES};
use crate::program::Access;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Start of every command, 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// See [`Opcode`].
    pub opcode: u16,
    /// Bindings that follow (dispatch).
    pub bindings: u16,
    /// Bytes of push constants (dispatch) or data (update) before padding.
    pub data_bytes: u32,
    /// Bytes of the whole command.
    pub length: u32,
    /// Must be zero.
    pub reserved: u32,
}

/// Kinds of commands; 0 is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Opcode {
    /// [`DispatchBody`], push constants, [`Binding`]s.
    Dispatch = 1,
    /// [`CopyBody`].
    Copy = 2,
    /// [`FillBody`].
    Fill = 3,
    /// [`FillBody`] without its word, data.
    Update = 4,
    /// Nothing: everything before it in the submit happens before everything after it.
    Barrier = 5,
}

/// A dispatch, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DispatchBody {
    /// A [`ProgramId`].
    pub program: u64,
    /// Workgroups by dimension.
    pub groups: [u32; 3],
    /// First workgroup by dimension.
    pub base: [u32; 3],
}

/// What a dispatch has at one binding, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Binding {
    /// A [`BufferId`].
    pub buffer: u64,
    /// Offset in the buffer, bytes.
    pub offset: u64,
    /// Bytes visible to the shader.
    pub range: u64,
    /// Descriptor set in the client's module.
    pub set: u16,
    /// Binding in that set.
    pub binding: u16,
    /// Element of an array binding.
    pub element: u16,
    /// [`Access::number`] the client declares; must cover what the shader does.
    pub access: u8,
    /// Must be zero.
    pub reserved: u8,
}

/// A copy between buffers, 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CopyBody {
    /// A [`BufferId`].
    pub source: u64,
    /// Offset in the source, bytes.
    pub source_offset: u64,
    /// A [`BufferId`].
    pub target: u64,
    /// Offset in the target, bytes.
    pub target_offset: u64,
    /// Length, bytes.
    pub bytes: u64,
}

/// A fill (or the target of an update), 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FillBody {
    /// A [`BufferId`].
    pub target: u64,
    /// Offset in the target, bytes, a multiple of 4.
    pub offset: u64,
    /// Length, bytes, a multiple of 4.
    pub bytes: u64,
    /// Word that is repeated; 0 in an update.
    pub word: u32,
    /// Must be zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Header>() == 16 && size_of::<DispatchBody>() == 32);
const _: () = assert!(
    size_of::<Binding>() == 32 && size_of::<CopyBody>() == 40 && size_of::<FillBody>() == 32
);

/// A decoded command; borrows from the payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command<'a> {
    /// Run a program.
    Dispatch {
        /// Program and grid.
        body: DispatchBody,
        /// Push constants.
        push: &'a [u8],
        /// Buffers.
        bindings: &'a [Binding],
    },
    /// Copy bytes.
    Copy(CopyBody),
    /// Repeat a word.
    Fill(FillBody),
    /// Write literal bytes.
    Update {
        /// Where.
        body: FillBody,
        /// What.
        data: &'a [u8],
    },
    /// Order.
    Barrier,
}

/// Why a payload is no list of commands: the peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("command at byte {at}: {what}")]
pub struct Malformed {
    /// Offset in the payload.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// The next command of a payload, which must be 8-byte aligned, and what is left behind it.
pub fn decode(payload: &[u8]) -> Result<(Command<'_>, &[u8]), &'static str> {
    let (header, _) = Header::read_from_prefix(payload).map_err(|_| "shorter than a header")?;
    let length = header.length as usize;
    if header.reserved != 0 {
        return Err("reserved field is not zero");
    }
    if length > payload.len() || !length.is_multiple_of(8) || length < size_of::<Header>() {
        return Err("length leaves the payload or is no multiple of 8");
    }
    let (command, rest) = payload.split_at(length);
    let body = &command[size_of::<Header>()..];
    let data_bytes = header.data_bytes as usize;
    let decoded = match header.opcode {
        op if op == Opcode::Dispatch as u16 => {
            decode_dispatch(body, data_bytes, header.bindings.into())?
        }
        op if op == Opcode::Copy as u16 => {
            Command::Copy(CopyBody::read_from_bytes(body).map_err(|_| "copy of a wrong length")?)
        }
        op if op == Opcode::Fill as u16 => {
            Command::Fill(FillBody::read_from_bytes(body).map_err(|_| "fill of a wrong length")?)
        }
        op if op == Opcode::Update as u16 => {
            let (update, data) =
                FillBody::read_from_prefix(body).map_err(|_| "update of a wrong length")?;
            if data_bytes > MAX_UPDATE_BYTES || data_bytes.next_multiple_of(8) != data.len() {
                return Err("update with a wrong length of data");
            }
            Command::Update {
                body: update,
                data: &data[..data_bytes],
            }
        }
        op if op == Opcode::Barrier as u16 && body.is_empty() => Command::Barrier,
        _ => return Err("unknown opcode"),
    };
    Ok((decoded, rest))
}

fn decode_dispatch(
    body: &[u8],
    push_bytes: usize,
    count: usize,
) -> Result<Command<'_>, &'static str> {
    let (dispatch, rest) =
        DispatchBody::read_from_prefix(body).map_err(|_| "dispatch of a wrong length")?;
    if push_bytes > MAX_PUSH_BYTES || count > MAX_BINDINGS {
        return Err("more push constants or bindings than any program has");
    }
    let padded = push_bytes.next_multiple_of(8);
    if rest.len() != padded + count * size_of::<Binding>() {
        return Err("dispatch of a wrong length");
    }
    let (push, bindings) = rest.split_at(padded);
    let bindings = <[Binding]>::ref_from_bytes(bindings).map_err(|_| "bindings are not aligned")?;
    if bindings.iter().any(|binding| binding.reserved != 0) {
        return Err("reserved field is not zero");
    }
    Ok(Command::Dispatch {
        body: dispatch,
        push: &push[..push_bytes],
        bindings,
    })
}

/// Writes commands one after another. What it holds is always a whole number of commands.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    words: Vec<u64>,
    commands: u32,
}

impl Encoder {
    /// Number of commands written.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    /// The payload.
    pub fn bytes(&self) -> &[u8] {
        self.words.as_bytes()
    }

    /// Starts over and keeps the memory.
    pub fn clear(&mut self) {
        self.words.clear();
        self.commands = 0;
    }

    /// A dispatch of `groups` workgroups from workgroup `base` on.
    ///
    /// # Errors
    /// `PushConstantMismatch` or `BindingMismatch` where there are more than any program has.
    pub fn dispatch(
        &mut self,
        program: ProgramId,
        groups: [u32; 3],
        base: [u32; 3],
        push: &[u8],
        bindings: &[Binding],
    ) -> Result<(), ErrorCode> {
        if push.len() > MAX_PUSH_BYTES {
            return Err(ErrorCode::PushConstantMismatch);
        }
        if bindings.len() > MAX_BINDINGS {
            return Err(ErrorCode::BindingMismatch);
        }
        let body = DispatchBody {
            program: program.0,
            groups,
            base,
        };
        self.command(
            Opcode::Dispatch,
            bindings.len(),
            push.len(),
            &[body.as_bytes(), push, bindings.as_bytes()],
        );
        Ok(())
    }

    /// A copy.
    pub fn copy(
        &mut self,
        source: BufferId,
        source_offset: u64,
        target: BufferId,
        target_offset: u64,
        bytes: u64,
    ) {
        let body = CopyBody {
            source: source.0,
            source_offset,
            target: target.0,
            target_offset,
            bytes,
        };
        self.command(Opcode::Copy, 0, 0, &[body.as_bytes()]);
    }

    /// A fill.
    pub fn fill(&mut self, target: BufferId, offset: u64, bytes: u64, word: u32) {
        let body = FillBody {
            target: target.0,
            offset,
            bytes,
            word,
            reserved: 0,
        };
        self.command(Opcode::Fill, 0, 0, &[body.as_bytes()]);
    }

    /// An update with literal data.
    ///
    /// # Errors
    /// `InvalidArgument` for more than [`MAX_UPDATE_BYTES`].
    pub fn update(&mut self, target: BufferId, offset: u64, data: &[u8]) -> Result<(), ErrorCode> {
        if data.len() > MAX_UPDATE_BYTES {
            return Err(ErrorCode::InvalidArgument);
        }
        let body = FillBody {
            target: target.0,
            offset,
            bytes: data.len() as u64,
            word: 0,
            reserved: 0,
        };
        self.command(Opcode::Update, 0, data.len(), &[body.as_bytes(), data]);
        Ok(())
    }

    /// A barrier.
    pub fn barrier(&mut self) {
        self.command(Opcode::Barrier, 0, 0, &[]);
    }

    /// Header and parts, each part padded to 8 bytes.
    fn command(&mut self, opcode: Opcode, bindings: usize, data_bytes: usize, parts: &[&[u8]]) {
        let length = size_of::<Header>()
            + parts
                .iter()
                .map(|part| part.len().next_multiple_of(8))
                .sum::<usize>();
        let header = Header {
            opcode: opcode as u16,
            bindings: u16::try_from(bindings).expect("at most MAX_BINDINGS"),
            data_bytes: u32::try_from(data_bytes).expect("at most MAX_UPDATE_BYTES"),
            length: u32::try_from(length).expect("parts are bounded above"),
            reserved: 0,
        };
        let mut at = self.words.len() * 8;
        self.words.resize(self.words.len() + length / 8, 0);
        let bytes = self.words.as_mut_bytes();
        for part in [header.as_bytes()].iter().chain(parts) {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len().next_multiple_of(8);
        }
        self.commands += 1;
    }
}

/// A binding of set 0, element 0, as the simple front ends use them.
pub fn binding(index: u16, buffer: BufferId, offset: u64, range: u64, access: Access) -> Binding {
    Binding {
        buffer: buffer.0,
        offset,
        range,
        set: 0,
        binding: index,
        element: 0,
        access: access.number(),
        reserved: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(mut payload: &[u8]) -> Result<Vec<String>, &'static str> {
        let mut seen = Vec::new();
        while !payload.is_empty() {
            let (command, rest) = decode(payload)?;
            seen.push(format!("{command:?}"));
            payload = rest;
        }
        Ok(seen)
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let mut encoder = Encoder::default();
        let bindings = [
            binding(0, BufferId(7), 256, 64, Access::Read),
            binding(1, BufferId(8), 0, 64, Access::Write),
        ];
        encoder
            .dispatch(ProgramId(9), [1, 2, 3], [0; 3], &[1, 2, 3, 4, 5], &bindings)
            .unwrap();
        encoder.copy(BufferId(1), 2, BufferId(3), 4, 5);
        encoder.fill(BufferId(1), 4, 8, 0xabcd);
        encoder.update(BufferId(1), 4, &[9; 12]).unwrap();
        encoder.barrier();
        let (first, rest) = decode(encoder.bytes()).unwrap();
        let body = DispatchBody {
            program: 9,
            groups: [1, 2, 3],
            base: [0; 3],
        };
        assert_eq!(
            first,
            Command::Dispatch {
                body,
                push: &[1, 2, 3, 4, 5],
                bindings: &bindings
            }
        );
        assert_eq!(decode_all(rest).unwrap().len(), 4);
        assert_eq!(encoder.commands(), 5);
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_decoder_panic(words in prop::collection::vec(any::<u64>(), 0..40)) {
            let _ = decode_all(words.as_bytes());
        }

        #[test]
        fn a_damaged_payload_is_refused_or_still_commands(at in 0usize..100, value: u8) {
            let mut encoder = Encoder::default();
            encoder.dispatch(ProgramId(9), [1, 2, 3], [0; 3], &[1; 8], &[binding(0, BufferId(7), 0, 64, Access::Read)]).unwrap();
            encoder.barrier();
            let mut words: Vec<u64> = encoder.words.clone();
            let bytes = words.as_mut_bytes();
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = decode_all(bytes);
        }
    }
}
