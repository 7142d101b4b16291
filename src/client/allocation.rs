//! Memory as the daemon hands it out.

use crate::connection::Connection;
use crate::control::unexpected;
use crate::error::Error;
use crate::staging;
use std::sync::Arc;
use vkmps_ipc::memory::Region;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::Encoder;
use vkmps_protocol::handle::BufferId;
use vkmps_protocol::message::{ClientMessage, DaemonMessage, MemoryClass};

/// A buffer of the session. Does not free itself: [`crate::Buffer`] does, and staging memory lives as long as the
/// session.
pub(crate) struct Allocation {
    pub(crate) id: BufferId,
    pub(crate) bytes: u64,
    /// Where this process sees its bytes, if it does.
    pub(crate) mapped: Option<Mapped>,
}

/// A range of a mapped chunk.
#[derive(Clone)]
pub(crate) struct Mapped {
    pub(crate) chunk: Arc<Region>,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
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
            let mapped = Some(Mapped {
                chunk,
                offset,
                bytes: length,
            });
            Ok((Allocation { id, bytes, mapped }, reused || mapping.reused))
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
        mapped.chunk.clear(mapped.offset, mapped.bytes);
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
