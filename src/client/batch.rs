//! Submits of several commands.

use crate::check;
use crate::connection::Connection;
use crate::dispatch::Dispatch;
use crate::error::Error;
use crate::slice::Slice;
use crate::stream::note;
use crate::submission::Submission;
use std::borrow::Borrow;
use std::sync::Arc;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::Encoder;
use vkmps_protocol::limits::MAX_UPDATE_BYTES;
use vkmps_protocol::program::Access;

/// Commands that are submitted together. They take effect as if in order; where they do not touch the same bytes they
/// may overlap. The first mistake is reported by [`Batch::submit`], which then submits nothing.
#[derive(Debug)]
#[must_use = "nothing happens before submit"]
pub struct Batch<'a> {
    connection: &'a Arc<Connection>,
    stream: usize,
    encoder: Encoder,
    dispatches: Vec<Dispatch>,
    transfers: Vec<(Slice, Access)>,
    mistake: Result<(), Error>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(connection: &'a Arc<Connection>, stream: usize) -> Self {
        let (encoder, dispatches, transfers) = (Encoder::default(), Vec::new(), Vec::new());
        Self {
            connection,
            stream,
            encoder,
            dispatches,
            transfers,
            mistake: Ok(()),
        }
    }

    /// Runs a program.
    pub fn dispatch(self, dispatch: impl Borrow<Dispatch>) -> Self {
        self.add(|batch| {
            let dispatch = dispatch.borrow();
            check::dispatch(batch.connection, dispatch, &mut batch.encoder)?;
            batch.dispatches.push(dispatch.clone());
            Ok(())
        })
    }

    /// Copies a range to another one of the same length; they may not overlap.
    pub fn copy(self, source: impl Into<Slice>, target: impl Into<Slice>) -> Self {
        let (source, target) = (source.into(), target.into());
        self.add(|batch| {
            check::transfer(batch.connection, &source)?;
            check::target(batch.connection, &target)?;
            if source.bytes != target.bytes {
                let text = format!("copy of {} bytes to {}", source.bytes, target.bytes);
                return Err(Error::new(ErrorCode::InvalidArgument, text));
            }
            let (from, to) = (source.buffer.allocation().id, target.buffer.allocation().id);
            if from == to && source.offset.abs_diff(target.offset) < source.bytes {
                return Err(Error::new(
                    ErrorCode::InvalidArgument,
                    "copy between ranges that overlap",
                ));
            }
            if source.bytes > 0 {
                batch
                    .encoder
                    .copy(from, source.offset, to, target.offset, source.bytes);
                batch
                    .transfers
                    .extend([(source, Access::Read), (target, Access::Write)]);
            }
            Ok(())
        })
    }

    /// Repeats a word over a range whose offset and length are multiples of 4.
    pub fn fill(self, target: impl Into<Slice>, word: u32) -> Self {
        let target = target.into();
        self.add(|batch| {
            check::target(batch.connection, &target)?;
            check::words(&target)?;
            if target.bytes > 0 {
                batch.encoder.fill(
                    target.buffer.allocation().id,
                    target.offset,
                    target.bytes,
                    word,
                );
                batch.transfers.push((target, Access::Write));
            }
            Ok(())
        })
    }

    /// Writes literal bytes, as many as the range has; its offset and length are multiples of 4.
    pub fn update(self, target: impl Into<Slice>, data: &[u8]) -> Self {
        let target = target.into();
        self.add(|batch| {
            check::target(batch.connection, &target)?;
            check::words(&target)?;
            if target.bytes != data.len() as u64 {
                let text = format!("update of {} bytes with {}", target.bytes, data.len());
                return Err(Error::new(ErrorCode::InvalidArgument, text));
            }
            let mut at = target.offset;
            for part in data.chunks(MAX_UPDATE_BYTES) {
                batch
                    .encoder
                    .update(target.buffer.allocation().id, at, part)?;
                at += part.len() as u64;
            }
            batch.transfers.push((target, Access::Write));
            Ok(())
        })
    }

    /// Everything before it happens before everything after it.
    pub fn barrier(self) -> Self {
        self.add(|batch| {
            batch.encoder.barrier();
            Ok(())
        })
    }

    /// Submits the commands. Blocks only while the stream's ring is full.
    ///
    /// # Errors
    /// The first mistake in a command (see [`crate::Stream::submit`]; for transfers `OutOfRange`, `InvalidArgument`,
    /// `InvalidHandle`), `InvalidArgument` for more than 65 536 commands or 4 MiB of them: nothing was submitted. What
    /// ended the session.
    pub fn submit(self) -> Result<Submission, Error> {
        let Self {
            connection,
            stream,
            mut encoder,
            dispatches,
            transfers,
            mistake,
        } = self;
        mistake?;
        if encoder.commands() == 0 {
            // A record has a payload; so the handle of no commands still says when everything before it is over.
            encoder.barrier();
        }
        let value = connection.submit(stream, &encoder)?;
        for dispatch in &dispatches {
            note(connection, stream, value, dispatch);
        }
        for (slice, access) in &transfers {
            slice.buffer.uses().note(connection, stream, value, *access);
        }
        Ok(Submission::new(connection.clone(), stream, value))
    }

    fn add(mut self, command: impl FnOnce(&mut Self) -> Result<(), Error>) -> Self {
        if self.mistake.is_ok() {
            self.mistake = command(&mut self);
        }
        self
    }
}
