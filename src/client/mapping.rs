//! Direct access to shared memory.

use crate::allocation::{Mapped, check_range};
use crate::buffer::Buffer;
use crate::error::Error;
use std::ops::Index;
use std::sync::atomic::AtomicU32;
use vkmps_protocol::ErrorCode;

/// The bytes of a buffer, which it keeps alive. The device, and other threads, may write them at any time.
#[derive(Clone)]
pub struct Mapping {
    mapped: Mapped,
    buffer: Buffer,
}

impl Mapping {
    pub(crate) fn new(buffer: Buffer, mapped: Mapped) -> Self {
        Self { mapped, buffer }
    }

    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.mapped.bytes
    }

    /// Whether it has no bytes; it always has.
    pub fn is_empty(&self) -> bool {
        self.mapped.bytes == 0
    }

    /// Its first byte, aligned to 256. Valid as long as the mapping; writing through it where [`Buffer::is_writable`] says
    /// no is a fault.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapped.chunk.as_ptr().wrapping_add(self.mapped.offset)
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// `OutOfRange`.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let at = self.check(offset, out.len())?;
        self.mapped.read(at, out);
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// `OutOfRange`; `PermissionDenied` for a buffer that may only be read.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.buffer.may_be_written()?;
        let at = self.check(offset, data.len())?;
        self.mapped.write(at, data);
        Ok(())
    }

    /// Its bytes as 32-bit words; up to three bytes at the end are left out. None of a buffer that may only be read: what
    /// is atomic can be written to.
    pub fn u32s(&self) -> Words<'_> {
        let bytes = match self.buffer.is_writable() {
            true => self.mapped.bytes,
            false => 0,
        };
        Words {
            mapped: &self.mapped,
            next: 0,
            end: bytes / 4,
        }
    }

    fn check(&self, offset: u64, bytes: usize) -> Result<usize, Error> {
        check_range(offset, bytes as u64, self.len() as u64)?;
        usize::try_from(offset).map_err(|_| ErrorCode::OutOfRange.into())
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping")
            .field("bytes", &self.len())
            .finish_non_exhaustive()
    }
}

/// The words of a [`Mapping`]: indexed like a slice, and an iterator over them.
#[derive(Clone)]
pub struct Words<'a> {
    mapped: &'a Mapped,
    next: usize,
    end: usize,
}

impl<'a> Words<'a> {
    /// The word with this index, if there is one.
    pub fn get(&self, index: usize) -> Option<&'a AtomicU32> {
        (index < self.end - self.next).then(|| {
            self.mapped
                .chunk
                .u32(self.mapped.offset + (self.next + index) * 4)
        })
    }

    /// Iterates over the words.
    pub fn iter(&self) -> Words<'a> {
        self.clone()
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.end - self.next
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Index<usize> for Words<'_> {
    type Output = AtomicU32;

    /// # Panics
    /// Where a slice would.
    fn index(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.len(), "word {index} of {}", self.len());
        self.mapped
            .chunk
            .u32(self.mapped.offset + (self.next + index) * 4)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a AtomicU32;

    fn next(&mut self) -> Option<&'a AtomicU32> {
        let word = self.get(0)?;
        self.next += 1;
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Words<'_> {}

impl<'a> IntoIterator for &Words<'a> {
    type Item = &'a AtomicU32;
    type IntoIter = Words<'a>;

    fn into_iter(self) -> Words<'a> {
        self.clone()
    }
}
