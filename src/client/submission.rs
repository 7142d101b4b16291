//! Handles of submits: waiting for them in every way.

use crate::connection::Connection;
use crate::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A submit. Clones are the same submit; dropping it changes nothing for the device. Awaiting it works in any executor.
#[derive(Debug, Clone)]
#[must_use = "a submit may fail"]
pub struct Submission {
    connection: Arc<Connection>,
    stream: usize,
    value: u64,
}

impl Submission {
    pub(crate) fn new(connection: Arc<Connection>, stream: usize, value: u64) -> Self {
        Self {
            connection,
            stream,
            value,
        }
    }

    /// Blocks until it is over.
    ///
    /// # Errors
    /// Why it failed, on every call; `StreamPoisoned` when one before it did; what ended the session.
    pub fn wait(&self) -> Result<(), Error> {
        self.wait_deadline(None)
    }

    /// Blocks until it is over, or for so long.
    ///
    /// # Errors
    /// As [`Self::wait`]; `Timeout` when it is not over yet.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), Error> {
        self.wait_deadline(Instant::now().checked_add(timeout))
    }

    /// Whether it is over. Never blocks.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn is_done(&self) -> Result<bool, Error> {
        match self.connection.poll(self.stream, self.value) {
            None => Ok(false),
            Some(result) => result.map(|()| true),
        }
    }

    /// Its number in its stream: consecutive from 1.
    pub fn value(&self) -> u64 {
        self.value
    }

    fn wait_deadline(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let result = self.connection.wait(self.stream, self.value, deadline);
        self.connection.sweep();
        result
    }
}

impl Future for Submission {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            connection,
            stream,
            value,
        } = &*self;
        if let Some(result) = connection.poll(*stream, *value) {
            return Poll::Ready(result);
        }
        if let Err(error) =
            connection
                .reactor
                .register(connection, *stream, *value, context.waker())
        {
            return Poll::Ready(Err(error));
        }
        // What completed before the reactor knew of us will not wake us.
        connection
            .poll(*stream, *value)
            .map_or(Poll::Pending, Poll::Ready)
    }
}
