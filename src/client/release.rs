//! Giving buffers and programs back to the daemon once nothing uses them.

use crate::connection::Connection;
use crate::control::Control;
use crate::error::Error;
use crate::lock::lock;
use crate::usage::Pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use vkmps_protocol::handle::{BufferId, ProgramId};
use vkmps_protocol::message::ClientMessage;

/// What the daemon is to take back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handle {
    Buffer(BufferId),
    Program(ProgramId),
}

/// Objects whose owner has gone while submits use them, or while somebody else talked to the daemon.
#[derive(Default)]
pub(crate) struct Deferred {
    /// Held to add or take entries; the requests for them are sent without it.
    entries: Mutex<Vec<Entry>>,
    /// Number of entries, to look at without the lock.
    count: AtomicUsize,
}

struct Entry {
    handle: Handle,
    pending: Vec<Pending>,
}

impl Deferred {
    /// Gives an object back now if possible, else later.
    pub(crate) fn release(&self, connection: &Connection, handle: Handle, pending: Vec<Pending>) {
        if connection.alive().is_err() {
            return;
        }
        match connection.try_control() {
            Some(mut control) if pending.is_empty() => give_back(connection, &mut control, handle),
            _ => {
                let mut entries = lock(&self.entries);
                entries.push(Entry { handle, pending });
                self.count.store(entries.len(), Ordering::Release);
            }
        }
    }

    /// Gives back what is no longer in use.
    pub(crate) fn sweep(&self, connection: &Connection, control: &mut Control) {
        if self.is_empty() {
            return;
        }
        let unused: Vec<Entry> = {
            let mut entries = lock(&self.entries);
            let over = |entry: &mut Entry| {
                entry
                    .pending
                    .iter()
                    .all(|&(stream, value)| connection.lane(stream).is_settled(value))
            };
            let unused = entries.extract_if(.., over).collect();
            self.count.store(entries.len(), Ordering::Release);
            unused
        };
        for entry in unused {
            give_back(connection, control, entry.handle);
        }
    }

    /// Waits until everything here can be given back. True when there was anything.
    pub(crate) fn settle(&self, connection: &Connection) -> Result<bool, Error> {
        let pending: Vec<Pending> = lock(&self.entries)
            .iter()
            .flat_map(|entry| entry.pending.iter().copied())
            .collect();
        let any = !self.is_empty();
        for (stream, value) in pending {
            connection.settle(stream, value)?;
        }
        Ok(any)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

/// A daemon that refuses it has forgotten the object, or the session is over: nobody is left to be told.
fn give_back(connection: &Connection, control: &mut Control, handle: Handle) {
    let message = match handle {
        Handle::Buffer(buffer) => ClientMessage::FreeBuffer { buffer },
        Handle::Program(program) => ClientMessage::ReleaseProgram { program },
    };
    let _ = control.request(connection, &message, &[]);
}
