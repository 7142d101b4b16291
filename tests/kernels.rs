//! The shaders that tests run, and what they must compute.

use crate::binaries::workspace;
use std::path::PathBuf;
use vkmps::{Buffer, Client, Dispatch, Error, Memory, Program};

/// A module of the workspace or of these tests, by name.
///
/// # Panics
/// When there is none.
pub fn module(name: &str) -> Vec<u8> {
    let file = format!("{name}.spv");
    // Where there is no workspace: inside a machine that is tested.
    let given = std::env::var_os("VKMPS_SHADERS").map(PathBuf::from);
    let places: Vec<PathBuf> = given
        .into_iter()
        .chain([
            workspace().join("shaders"),
            workspace().join("tests/shaders"),
        ])
        .map(|folder| folder.join(&file))
        .collect();
    let found = places.iter().find(|path| path.is_file());
    let path = found.unwrap_or_else(|| panic!("no shader {file}"));
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Registers a program.
///
/// # Panics
/// When it is refused.
pub fn program(client: &Client, name: &str) -> Program {
    client
        .program(&module(name))
        .register()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `affine` with these constants: every element becomes `element * factor + offset`.
pub fn affine(client: &Client, factor: u32, offset: u32) -> Program {
    let built = client
        .program(&module("affine"))
        .specialize(0, factor)
        .specialize(1, offset)
        .register();
    built.unwrap_or_else(|error| panic!("affine: {error}"))
}

/// A dispatch of `affine` over a whole buffer of words.
pub fn affine_over(program: &Program, buffer: &Buffer) -> Dispatch {
    let words = words_of(buffer);
    Dispatch::new(program, [words.div_ceil(64), 1, 1])
        .push(&words.to_le_bytes())
        .read_write(buffer)
}

/// A dispatch that keeps the device busy in proportion to the length of the buffer, a multiple of 1024: `fma_loop`.
pub fn busy(program: &Program, buffer: &Buffer) -> Dispatch {
    Dispatch::new(program, [words_of(buffer) / 256, 1, 1])
        .push(&ITERATIONS.to_le_bytes())
        .read_write(buffer)
}

/// Length of a buffer that [`busy`] takes a good part of a second for on lavapipe, bytes.
pub const LONG: u64 = 256 * 1024;
/// llvmpipe leaves loops after so many rounds, however many more there should be.
const ITERATIONS: u32 = 65_535;

/// A client with all it needs to add vectors, over and over.
#[derive(Debug)]
pub struct Adder {
    program: Program,
    buffers: [Buffer; 3],
    elements: u32,
}

impl Adder {
    /// Registers and allocates.
    ///
    /// # Errors
    /// Of doing so.
    pub fn new(client: &Client, elements: u32) -> Result<Self, Error> {
        let bytes = u64::from(elements) * 4;
        let program = client.program(&module("vector_add")).register()?;
        let alloc = || client.alloc(bytes, Memory::Shared);
        Ok(Self {
            program,
            buffers: [alloc()?, alloc()?, alloc()?],
            elements,
        })
    }

    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let [a, b, c] = &self.buffers;
        let groups = [self.elements.div_ceil(64), 1, 1];
        Dispatch::new(&self.program, groups)
            .push(&self.elements.to_le_bytes())
            .read(a)
            .read(b)
            .write(c)
    }

    /// Sets inputs that differ from round to round.
    ///
    /// # Errors
    /// Of writing.
    pub fn prepare(&self, round: u32) -> Result<(), Error> {
        let [a, b, c] = &self.buffers;
        a.write(0, &self.bytes(|i| small(i, round)))?;
        b.write(0, &self.bytes(|i| small(i * 7, round)))?;
        c.write(0, &self.bytes(|_| -1.0))
    }

    /// Checks every element of the result.
    ///
    /// # Errors
    /// Of reading.
    ///
    /// # Panics
    /// When one is wrong.
    pub fn check(&self, round: u32) -> Result<(), Error> {
        let mut out = vec![0; self.elements as usize * 4];
        self.buffers[2].read(0, &mut out)?;
        let expected = self.bytes(|i| small(i, round) + small(i * 7, round));
        if let Some(at) = out
            .chunks(4)
            .zip(expected.chunks(4))
            .position(|(found, expected)| found != expected)
        {
            panic!(
                "round {round}: element {at} is wrong: {:?}",
                &out[at * 4..at * 4 + 4]
            );
        }
        Ok(())
    }

    /// One round in the default stream, every element checked.
    ///
    /// # Errors
    /// Of any part of it.
    pub fn round(&self, client: &Client, round: u32) -> Result<(), Error> {
        self.prepare(round)?;
        client.submit(self.dispatch())?.wait()?;
        self.check(round)
    }

    fn bytes(&self, value: impl Fn(u32) -> f32) -> Vec<u8> {
        (0..self.elements)
            .flat_map(|i| value(i).to_le_bytes())
            .collect()
    }
}

/// Words from a buffer.
///
/// # Panics
/// When it cannot be read.
pub fn read_words(buffer: &Buffer) -> Vec<u32> {
    let mut bytes = vec![0; words_of(buffer) as usize * 4];
    buffer
        .read(0, &mut bytes)
        .unwrap_or_else(|error| panic!("reading: {error}"));
    bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect()
}

/// A buffer of these words.
///
/// # Panics
/// When there is none to be had.
pub fn buffer_of(client: &Client, memory: Memory, words: &[u32]) -> Buffer {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let buffer = client
        .alloc(bytes.len() as u64, memory)
        .unwrap_or_else(|error| panic!("allocating: {error}"));
    buffer
        .write(0, &bytes)
        .unwrap_or_else(|error| panic!("writing: {error}"));
    buffer
}

fn words_of(buffer: &Buffer) -> u32 {
    u32::try_from(buffer.len() / 4).expect("test buffers are small")
}

/// A whole number below 2^20, so that sums are exact in an `f32`.
#[expect(clippy::cast_precision_loss, reason = "below 2^24 there is none")]
fn small(i: u32, round: u32) -> f32 {
    (i.wrapping_mul(2_654_435_761)
        .wrapping_add(round.wrapping_mul(40_503))
        >> 12) as f32
}
