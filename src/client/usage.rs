//! Which submits still use an object.

use crate::connection::Connection;
use crate::error::Error;
use crate::lock::lock;
use std::sync::Mutex;
use vkmps_protocol::program::Access;

/// The last submits that use a buffer or a program, by stream.
#[derive(Default)]
pub(crate) struct Uses(
    /// Held for a look or a note; a mutex because several threads may submit with the same buffer.
    Mutex<Vec<Use>>,
);

#[derive(Clone, Copy)]
struct Use {
    stream: usize,
    /// Last submit that uses it.
    used: u64,
    /// Last submit that writes it, 0 for none.
    written: u64,
}

/// A submit to wait for: stream and value.
pub(crate) type Pending = (usize, u64);

impl Uses {
    /// Notes a submit.
    pub(crate) fn note(&self, connection: &Connection, stream: usize, value: u64, access: Access) {
        let mut uses = lock(&self.0);
        let written = if access.writes() { value } else { 0 };
        if let Some(known) = uses.iter_mut().find(|known| known.stream == stream) {
            known.used = known.used.max(value);
            known.written = known.written.max(written);
            return;
        }
        if uses.len() >= MANY {
            // Failed writers stay until a read has told of them.
            uses.retain(|known| {
                !connection.lane(known.stream).is_settled(known.used) || known.written != 0
            });
        }
        uses.push(Use {
            stream,
            used: value,
            written,
        });
    }

    /// Waits until nobody uses the object; how those submits ended is their handles' business.
    pub(crate) fn settle(&self, connection: &Connection) -> Result<(), Error> {
        for (stream, value) in self.pending(connection) {
            connection.settle(stream, value)?;
        }
        Ok(())
    }

    /// Waits for the writers and returns the first failure among them that nobody was told of.
    pub(crate) fn settle_writers(&self, connection: &Connection) -> Result<(), Error> {
        let writers: Vec<Pending> = lock(&self.0)
            .iter()
            .filter(|known| known.written != 0)
            .map(|known| (known.stream, known.written))
            .collect();
        let mut result = Ok(());
        for (stream, value) in writers {
            let outcome = connection.wait_for_news(stream, value);
            self.forget_writer(stream, value);
            result = result.and(outcome);
        }
        result
    }

    /// Submits that are not over yet.
    pub(crate) fn pending(&self, connection: &Connection) -> Vec<Pending> {
        let uses = lock(&self.0);
        let pending = uses.iter().map(|known| (known.stream, known.used));
        pending
            .filter(|(stream, value)| !connection.lane(*stream).is_settled(*value))
            .collect()
    }

    fn forget_writer(&self, stream: usize, value: u64) {
        if let Some(known) = lock(&self.0)
            .iter_mut()
            .find(|known| known.stream == stream && known.written == value)
        {
            known.written = 0;
        }
    }
}

/// Streams noted before those that are over are dropped.
const MANY: usize = 8;
