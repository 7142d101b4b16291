//! Buffers: memory of the session that programs work on.

use crate::allocation::{Allocation, check_range};
use crate::connection::Connection;
use crate::error::Error;
use crate::mapping::Mapping;
use crate::release::Handle;
use crate::slice::Slice;
use crate::staging;
use crate::usage::Uses;
use std::sync::Arc;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::message::MemoryClass;
use vkmps_protocol::sharing::Grant;

/// Where a buffer lives. On a device that computes in host memory both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// In the device's own memory: fastest for programs; reads and writes are copies by the device.
    Device,
    /// In host memory that this process maps: reads and writes cost the device nothing.
    Shared,
}

/// A buffer. Clones are the same buffer; dropping the last one frees it once the submits that use it are over.
#[derive(Clone)]
pub struct Buffer(Arc<Inner>);

struct Inner {
    connection: Arc<Connection>,
    allocation: Allocation,
    uses: Uses,
}

impl Buffer {
    pub(crate) fn new(connection: Arc<Connection>, allocation: Allocation) -> Self {
        Self(Arc::new(Inner {
            connection,
            allocation,
            uses: Uses::default(),
        }))
    }

    /// Length, bytes.
    pub fn len(&self) -> u64 {
        self.0.allocation.bytes
    }

    /// Whether it has no bytes; it always has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this process sees its bytes: always for [`Memory::Shared`].
    pub fn is_mapped(&self) -> bool {
        self.0.allocation.mapped.is_some()
    }

    /// A range of it. One that leaves the buffer is an error where it is used.
    pub fn slice(&self, offset: u64, len: u64) -> Slice {
        Slice {
            buffer: self.clone(),
            offset,
            bytes: len,
        }
    }

    /// Writes bytes after all earlier submits of this client that use the buffer; blocks until they are there.
    ///
    /// # Errors
    /// `OutOfRange`; `PermissionDenied` for one that may only be read; what ended the session; for device memory what allocating or copying can return.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let Inner {
            connection,
            allocation,
            uses,
        } = &*self.0;
        check_range(offset, data.len() as u64, self.len())?;
        self.may_be_written()?;
        connection.alive()?;
        uses.settle(connection)?;
        match &allocation.mapped {
            Some(mapped) => mapped.write(in_mapping(offset)?, data),
            None if data.is_empty() => {}
            None => staging::write(connection, allocation, offset, data)?,
        }
        Ok(())
    }

    /// Reads bytes after all earlier submits of this client that write the buffer.
    ///
    /// # Errors
    /// `OutOfRange`; the failure of such a submit, if nobody was told of it yet (this call acknowledges it); what ended
    /// the session; for device memory what allocating or copying can return.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let Inner {
            connection,
            allocation,
            uses,
        } = &*self.0;
        check_range(offset, out.len() as u64, self.len())?;
        connection.alive()?;
        uses.settle_writers(connection)?;
        match &allocation.mapped {
            Some(mapped) => mapped.read(in_mapping(offset)?, out),
            None if out.is_empty() => {}
            None => staging::read(connection, allocation, offset, out)?,
        }
        Ok(())
    }

    /// Its bytes without copies. Nothing orders accesses through it with submits but waiting for those.
    ///
    /// # Errors
    /// `Unsupported` for device memory.
    pub fn map(&self) -> Result<Mapping, Error> {
        match &self.0.allocation.mapped {
            Some(mapped) => Ok(Mapping::new(self.clone(), mapped.clone())),
            None => Err(Error::new(
                ErrorCode::Unsupported,
                "device memory cannot be mapped",
            )),
        }
    }

    /// Whether this client may write it, too: always, unless it is attached to read only.
    pub fn is_writable(&self) -> bool {
        self.0.allocation.grant == Grant::ReadWrite
    }

    pub(crate) fn may_be_written(&self) -> Result<(), Error> {
        if self.is_writable() {
            return Ok(());
        }
        let text = "the buffer was offered to be read only";
        Err(Error::new(ErrorCode::PermissionDenied, text))
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    pub(crate) fn belongs_to(&self, connection: &Arc<Connection>) -> Result<(), Error> {
        if Arc::ptr_eq(&self.0.connection, connection) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::InvalidHandle,
            "a buffer of another client",
        ))
    }

    pub(crate) fn allocation(&self) -> &Allocation {
        &self.0.allocation
    }

    pub(crate) fn uses(&self) -> &Uses {
        &self.0.uses
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let pending = self.uses.pending(&self.connection);
        self.connection.deferred.release(
            &self.connection,
            Handle::Buffer(self.allocation.id),
            pending,
        );
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("id", &self.0.allocation.id)
            .field("bytes", &self.len())
            .finish_non_exhaustive()
    }
}

impl From<Memory> for MemoryClass {
    fn from(memory: Memory) -> Self {
        match memory {
            Memory::Device => MemoryClass::Device,
            Memory::Shared => MemoryClass::Shared,
        }
    }
}

/// An offset that was checked against the length of a mapped buffer.
fn in_mapping(offset: u64) -> Result<usize, Error> {
    usize::try_from(offset).map_err(|_| ErrorCode::OutOfRange.into())
}
