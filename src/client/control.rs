//! Requests to the daemon: one at a time, each with one answer.

use crate::connection::Connection;
use crate::error::Error;
use crate::handshake::read_message;
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use vkmps_ipc::memory::Region;
use vkmps_ipc::socket::message_buffer;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::handle::ChunkId;
use vkmps_protocol::limits::MAX_MESSAGE_BYTES;
use vkmps_protocol::message::{ClientMessage, DaemonMessage, SharedMapping};

/// What belongs to whoever talks to the daemon at the moment.
pub(crate) struct Control {
    buffer: Box<[u8; MAX_MESSAGE_BYTES]>,
    arena: Option<Arc<OwnedFd>>,
    /// The file that came with the last answer.
    pub(crate) share: Option<OwnedFd>,
    chunks: HashMap<ChunkId, Weak<Region>>,
    /// The chunk used last stays mapped: freeing and allocating in turn does not fault its pages in again.
    recent: Option<Arc<Region>>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            buffer: message_buffer(),
            arena: None,
            share: None,
            chunks: HashMap::new(),
            recent: None,
        }
    }

    /// Sends a request and returns its answer; [`DaemonMessage::Failed`] becomes the error it is.
    pub(crate) fn request(
        &mut self,
        connection: &Connection,
        message: &ClientMessage,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<DaemonMessage, Error> {
        connection.alive()?;
        let bytes = vkmps_protocol::encode(message)
            .map_err(|e| Error::new(ErrorCode::InvalidArgument, e.to_string()))?;
        let socket = connection.socket();
        socket
            .send(&bytes, descriptors)
            .map_err(|_| connection.lost())?;
        let packet = socket
            .receive(&mut *self.buffer)
            .ok()
            .flatten()
            .ok_or_else(|| connection.lost())?;
        // After an answer that is none, nobody knows whose the next one would be.
        let (answer, mut descriptors) =
            read_message(&*self.buffer, packet).map_err(|error| connection.end(error))?;
        if matches!(
            answer,
            DaemonMessage::BufferReady {
                with_arena: true,
                ..
            }
        ) {
            self.arena = descriptors.pop().map(Arc::new);
        }
        if matches!(answer, DaemonMessage::ShareReady { .. }) {
            self.share = descriptors.pop();
        }
        match answer {
            DaemonMessage::Failed { code, text, excess } => Err(Error::refused(code, text, excess)),
            DaemonMessage::Refused { code, text } => Err(connection.end(Error::new(code, text))),
            answer => Ok(answer),
        }
    }

    /// The memfd of the session's shared memory, once there is one.
    pub(crate) fn arena(&self) -> Option<Arc<OwnedFd>> {
        self.arena.clone()
    }

    /// The chunk that a buffer was cut from, mapped once however many buffers it holds.
    pub(crate) fn chunk(&mut self, mapping: &SharedMapping) -> Result<Arc<Region>, Error> {
        if let Some(region) = self.chunks.get(&mapping.chunk).and_then(Weak::upgrade) {
            return Ok(region);
        }
        let arena = self.arena.as_ref().ok_or(Error::new(
            ErrorCode::Protocol,
            "shared memory without an arena",
        ))?;
        let bytes = usize::try_from(mapping.chunk_bytes)
            .map_err(|_| Error::from(ErrorCode::OutOfHostMemory))?;
        let region = Region::map(&**arena, mapping.chunk_offset, bytes).map_err(Error::system)?;
        let region = Arc::new(region);
        self.chunks.retain(|_, chunk| chunk.strong_count() > 0);
        self.chunks.insert(mapping.chunk, Arc::downgrade(&region));
        self.recent = Some(region.clone());
        Ok(region)
    }
}

/// For a request whose answer has another kind than it must have.
pub(crate) fn unexpected(connection: &Connection) -> Error {
    connection.end(Error::new(
        ErrorCode::Protocol,
        "an answer that does not fit its request",
    ))
}
