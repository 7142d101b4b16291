//! Ranges of buffers.

use crate::allocation::check_range;
use crate::buffer::Buffer;
use crate::error::Error;

/// A range of a buffer, which it keeps alive. Checked when it is used.
#[derive(Debug, Clone)]
pub struct Slice {
    pub(crate) buffer: Buffer,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Slice {
    /// The buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// First byte in the buffer.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Length, bytes.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        check_range(self.offset, self.bytes, self.buffer.len())
    }
}

impl From<&Buffer> for Slice {
    fn from(buffer: &Buffer) -> Self {
        buffer.slice(0, buffer.len())
    }
}

impl From<Buffer> for Slice {
    fn from(buffer: Buffer) -> Self {
        let bytes = buffer.len();
        Self {
            buffer,
            offset: 0,
            bytes,
        }
    }
}

impl From<&Slice> for Slice {
    fn from(slice: &Slice) -> Self {
        slice.clone()
    }
}
