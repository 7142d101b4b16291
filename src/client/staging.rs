//! Reading and writing memory that this process does not see: copies by the device through shared memory.
//!
//! The staging memory is cut into pieces, so that this process copies one piece while the device copies others.

use crate::allocation::{Allocation, Contents, Mapped, allocate};
use crate::connection::Connection;
use crate::error::Error;
use crate::lock::lock;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::Encoder;
use vkmps_protocol::message::MemoryClass;

/// Writes to a buffer and waits until the bytes are there. The caller has checked the range.
pub(crate) fn write(
    connection: &Connection,
    target: &Allocation,
    offset: u64,
    data: &[u8],
) -> Result<(), Error> {
    with_pieces(connection, |pieces| {
        let mut at = offset;
        for (turn, part) in data.chunks(PIECE).enumerate() {
            let slot = turn % PIECES;
            pieces.settle(slot)?;
            pieces.memory.write(slot * PIECE, part);
            pieces.copy(slot, |copy, staged, staged_at| {
                copy.copy(staged, staged_at, target.id, at, part.len() as u64)
            })?;
            at += part.len() as u64;
        }
        Ok(())
    })
}

/// Reads from a buffer. The caller has checked the range.
pub(crate) fn read(
    connection: &Connection,
    source: &Allocation,
    offset: u64,
    out: &mut [u8],
) -> Result<(), Error> {
    let lengths: Vec<usize> = out.chunks(PIECE).map(<[u8]>::len).collect();
    with_pieces(connection, |pieces| {
        let fetch = |pieces: &mut Pieces<'_>, turn: usize| match lengths.get(turn) {
            Some(&bytes) => pieces.copy(turn % PIECES, |copy, staged, staged_at| {
                copy.copy(
                    source.id,
                    offset + (turn * PIECE) as u64,
                    staged,
                    staged_at,
                    bytes as u64,
                );
            }),
            None => Ok(()),
        };
        for turn in 0..PIECES {
            fetch(pieces, turn)?;
        }
        for (turn, part) in out.chunks_mut(PIECE).enumerate() {
            let slot = turn % PIECES;
            pieces.settle(slot)?;
            pieces.memory.read(slot * PIECE, part);
            fetch(pieces, turn + PIECES)?;
        }
        Ok(())
    })
}

/// Staging memory in use by one call.
struct Pieces<'a> {
    connection: &'a Connection,
    allocation: &'a Allocation,
    memory: &'a Mapped,
    stream: usize,
    /// Copy that uses each piece, 0 for none.
    running: [u64; PIECES],
    encoder: Encoder,
}

impl Pieces<'_> {
    /// Waits until a piece is free.
    fn settle(&mut self, slot: usize) -> Result<(), Error> {
        match std::mem::take(&mut self.running[slot]) {
            0 => Ok(()),
            value => self.connection.wait(self.stream, value, None),
        }
    }

    /// Submits a copy that uses a piece; `encode` gets the staging buffer and the piece's offset in it.
    fn copy(
        &mut self,
        slot: usize,
        encode: impl FnOnce(&mut Encoder, vkmps_protocol::handle::BufferId, u64),
    ) -> Result<(), Error> {
        self.encoder.clear();
        encode(&mut self.encoder, self.allocation.id, (slot * PIECE) as u64);
        self.running[slot] = self.connection.submit(self.stream, &self.encoder)?;
        Ok(())
    }
}

/// Lends staging memory to `work` and takes it back when no copy uses it any more.
fn with_pieces(
    connection: &Connection,
    work: impl FnOnce(&mut Pieces<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let spare = lock(&connection.staging).pop();
    let allocation = match spare {
        Some(allocation) => allocation,
        None => allocate(
            connection,
            (PIECE * PIECES) as u64,
            MemoryClass::Shared,
            Contents::Any,
        )?,
    };
    let memory = allocation.mapped.as_ref().ok_or(Error::new(
        ErrorCode::Protocol,
        "shared memory without a mapping",
    ))?;
    let stream = connection.streams.transfers();
    let encoder = Encoder::default();
    let mut pieces = Pieces {
        connection,
        allocation: &allocation,
        memory,
        stream,
        running: [0; PIECES],
        encoder,
    };
    let mut result = work(&mut pieces);
    for slot in 0..PIECES {
        result = result.and(pieces.settle(slot));
    }
    connection.alive()?;
    lock(&connection.staging).push(allocation);
    result
}

/// One piece, bytes: long enough that the copy hides what a submit costs.
const PIECE: usize = 1 << 20;
/// Pieces of one staging buffer, which so fills one chunk of shared memory.
const PIECES: usize = 4;
