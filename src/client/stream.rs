//! Streams: ordered queues of submits.

use crate::batch::Batch;
use crate::check;
use crate::connection::Connection;
use crate::dispatch::Dispatch;
use crate::error::Error;
use crate::streams;
use crate::submission::Submission;
use std::borrow::Borrow;
use std::sync::Arc;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::program::Access;

/// An ordered queue of submits. Threads may share it; which of them comes first is theirs to decide.
#[derive(Debug)]
pub struct Stream {
    connection: Arc<Connection>,
    index: usize,
}

impl Stream {
    pub(crate) fn new(connection: Arc<Connection>) -> Result<Self, Error> {
        connection.alive()?;
        let index = connection.streams.take()?;
        Ok(Self { connection, index })
    }

    pub(crate) fn default_of(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            index: streams::DEFAULT,
        }
    }

    /// Submits a dispatch. Blocks only while the stream's ring is full.
    ///
    /// # Errors
    /// `BindingMismatch`, `PushConstantMismatch`, `GroupCount`, `OutOfRange`, `InvalidArgument` (alignment, empty
    /// ranges), `InvalidHandle` (objects of another client): nothing was submitted. What ended the session.
    pub fn submit(&self, dispatch: impl Borrow<Dispatch>) -> Result<Submission, Error> {
        let dispatch = dispatch.borrow();
        let lane = self.connection.lane(self.index);
        let value = lane.submit(&self.connection, |encoder| {
            check::dispatch(&self.connection, dispatch, encoder)
        })?;
        note(&self.connection, self.index, value, dispatch);
        Ok(Submission::new(self.connection.clone(), self.index, value))
    }

    /// Begins a submit of several commands.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(&self.connection, self.index)
    }

    /// A handle of a submit that was made on this stream.
    ///
    /// # Errors
    /// `InvalidHandle` for a value that no submit has had.
    pub fn submission(&self, value: u64) -> Result<Submission, Error> {
        if value == 0 || value > self.connection.lane(self.index).last() {
            return Err(Error::new(
                ErrorCode::InvalidHandle,
                format!("no submit has the value {value}"),
            ));
        }
        Ok(Submission::new(self.connection.clone(), self.index, value))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.index != streams::DEFAULT {
            self.connection.streams.give_back(self.index);
        }
    }
}

/// Notes with everything a dispatch uses that a submit uses it.
pub(crate) fn note(connection: &Connection, stream: usize, value: u64, dispatch: &Dispatch) {
    dispatch
        .program
        .uses()
        .note(connection, stream, value, Access::Read);
    for bound in &dispatch.bound {
        bound
            .slice
            .buffer
            .uses()
            .note(connection, stream, value, bound.access);
    }
}
