//! Memory as the daemon hands it out.

use crate::connection::Connection;
use crate::control::unexpected;
use crate::error::Error;
use crate::staging;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vkmps_ipc::memory::{self, Region};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::Encoder;
use vkmps_protocol::handle::BufferId;
use vkmps_protocol::message::{ClientMessage, DaemonMessage, MemoryClass};
use vkmps_protocol::sharing::Grant;

/// A buffer of the session. Does not free itself: [`crate::Buffer`] does, and staging memory lives as long as the
/// session.
pub(crate) struct Allocation {
    pub(crate) id: BufferId,
    pub(crate) bytes: u64,
    /// Where this process sees its bytes, if it does.
    pub(crate) mapped: Option<Mapped>,
    /// What the session may do with it.
    pub(crate) grant: Grant,
    /// Whether it can be offered to others.
    pub(crate) shareable: bool,
}

/// A range of a mapped chunk.
#[derive(Clone)]
pub(crate) struct Mapped {
    pub(crate) chunk: Arc<Region>,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    /// What its pages are of, where that is known.
    pub(crate) file: Option<File>,
}

/// Where a chunk lies in its memfd.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) descriptor: Arc<OwnedFd>,
    pub(crate) chunk_offset: u64,
}

impl File {
    /// The next bytes of the chunk, before `end`, that were ever written; all, where the system does not say.
    fn next_data(&self, start: usize, end: usize) -> Option<Range<usize>> {
        let in_file = |offset: usize| self.chunk_offset + offset as u64;
        let found = memory::next_data(&*self.descriptor, in_file(start), in_file(end));
        let Ok(found) = found else {
            return Some(start..end);
        };
        let in_chunk = |at: u64| usize::try_from(at - self.chunk_offset).unwrap_or(end);
        found.map(|data| in_chunk(data.start)..in_chunk(data.end))
    }
}

/// What may be in memory that is handed out: never another session's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    Zero,
    /// Zero or bytes of an earlier buffer of this session.
    Any,
}

/// Allocates; where memory or handles are short, waits for buffers that were dropped in use.
pub(crate) fn allocate(
    connection: &Connection,
    bytes: u64,
    class: MemoryClass,
    contents: Contents,
) -> Result<Allocation, Error> {
    if bytes == 0 {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "a buffer of no bytes",
        ));
    }
    let (allocation, reused) = match request(connection, bytes, class) {
        Err(error) if is_short(error.code()) && connection.deferred.settle(connection)? => {
            request(connection, bytes, class)?
        }
        result => result?,
    };
    if reused && contents == Contents::Zero {
        clear(connection, &allocation)?;
    }
    Ok(allocation)
}

fn is_short(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::OutOfDeviceMemory | ErrorCode::OutOfHostMemory | ErrorCode::LimitReached
    )
}

/// A buffer, and whether its range was used before.
fn request(
    connection: &Connection,
    bytes: u64,
    class: MemoryClass,
) -> Result<(Allocation, bool), Error> {
    let mut control = connection.control();
    let answer = control.request(
        connection,
        &ClientMessage::AllocateBuffer { bytes, class },
        &[],
    )?;
    let DaemonMessage::BufferReady {
        buffer: id,
        mapping,
        reused,
        ..
    } = answer
    else {
        return Err(unexpected(connection));
    };
    let Some(mapping) = mapping else {
        return Ok((
            Allocation {
                id,
                bytes,
                mapped: None,
                grant: Grant::ReadWrite,
                shareable: false,
            },
            reused,
        ));
    };
    let fits = mapping
        .offset
        .checked_add(bytes)
        .is_some_and(|end| end <= mapping.chunk_bytes);
    let (Ok(offset), Ok(length), true) = (
        usize::try_from(mapping.offset),
        usize::try_from(bytes),
        fits,
    ) else {
        return Err(unexpected(connection));
    };
    match control.chunk(&mapping) {
        Ok(chunk) => {
            let file = control.arena().map(|descriptor| File {
                descriptor,
                chunk_offset: mapping.chunk_offset,
            });
            let mapped = Some(Mapped {
                chunk,
                offset,
                bytes: length,
                file,
            });
            let allocation = Allocation {
                id,
                bytes,
                mapped,
                grant: Grant::ReadWrite,
                shareable: false,
            };
            Ok((allocation, reused || mapping.reused))
        }
        Err(error) => {
            // This process has no address space left: the daemon still believes that we have the buffer.
            let _ = control.request(connection, &ClientMessage::FreeBuffer { buffer: id }, &[]);
            Err(error)
        }
    }
}

fn clear(connection: &Connection, allocation: &Allocation) -> Result<(), Error> {
    if let Some(mapped) = &allocation.mapped {
        mapped.clear();
        return Ok(());
    }
    let odd = allocation.bytes % 4;
    let words = allocation.bytes - odd;
    if words > 0 {
        let mut fill = Encoder::default();
        fill.fill(allocation.id, 0, words, 0);
        let stream = connection.streams.transfers();
        connection.wait(stream, connection.submit(stream, &fill)?, None)?;
    }
    if odd > 0 {
        // Fills work on whole words only.
        staging::write(
            connection,
            allocation,
            words,
            &[0; 3][..usize::try_from(odd).unwrap_or(3)],
        )?;
    }
    Ok(())
}

impl Mapped {
    /// Sets all bytes to zero. Pages that nobody has written yet stay what they are: none.
    fn clear(&self) {
        let (start, end) = (self.offset, self.offset + self.bytes);
        let mut at = start;
        while at < end {
            let data = match &self.file {
                Some(file) => file.next_data(at, end),
                None => Some(at..end),
            };
            let Some(data) = data else { return };
            self.chunk.clear(data.start, data.len());
            at = data.end;
        }
    }

    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) {
        self.chunk.read(self.offset + offset, out);
    }

    pub(crate) fn write(&self, offset: usize, data: &[u8]) {
        self.chunk.write(self.offset + offset, data);
    }
}

/// Start of a range inside a buffer of `total` bytes.
///
/// # Errors
/// `OutOfRange` where it leaves the buffer.
pub(crate) fn check_range(offset: u64, bytes: u64, total: u64) -> Result<(), Error> {
    if offset.checked_add(bytes).is_some_and(|end| end <= total) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::OutOfRange,
        format!("{bytes} bytes from {offset} of a buffer of {total}"),
    ))
}
