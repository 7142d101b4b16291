//! The language of vkmps: what clients, the daemon and its engine say to each other. Bytes to values and back; no I/O.
//!
//! # Framing
//! Control messages travel over `SOCK_SEQPACKET` sockets, one message a packet, encoded with [postcard] (varints,
//! little endian). File descriptors ride along; [`message::ClientMessage::descriptors`] and its siblings say how many a
//! message carries, and a packet with another number is a protocol error.
//!
//! Submits do not use the socket. They are written into a shared region ([`ring`]) as fixed records with a payload of
//! [`command`]s; completion is a counter in the same region. The daemon is not on the path of a submit.
//!
//! # A session
//! ```text
//! client                                   daemon
//!   | Hello {magic, version, ...}            |
//!   |--------------------------------------->|   Refused {code, text}: the socket is closed
//!   | Welcome {session, device, ...} + 2 fds |
//!   |<---------------------------------------|
//!   | RegisterProgram, AllocateBuffer, ...   |   one request at a time; each has one answer, in order
//!   |<-------------------------------------->|
//!   | (closes the socket)                    |   everything of the session is released
//! ```
//!
//! # Versions
//! [`VERSION_MAJOR`] must match; features beyond that are bits in [`message::Hello::features`]. The bytes of every message
//! are guarded by vectors in `tests/vectors`.
#![forbid(unsafe_code)]

pub mod command;
pub mod engine;
pub mod error;
pub mod group;
pub mod handle;
pub mod ledger;
pub mod limits;
pub mod message;
pub mod program;
pub mod quota;
pub mod recorder;
pub mod ring;
pub mod share;
pub mod sharing;
pub mod token;
pub mod window;

pub use error::ErrorCode;

/// First field of a [`message::Hello`]: "VKMP" in ASCII, little endian.
pub const MAGIC: u32 = 0x504d_4b56;

/// Version of the wire; a peer with another one is refused.
pub const VERSION_MAJOR: u16 = 1;

/// A packet that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The packet is longer than any message.
    #[error("packet of {0} bytes is longer than any message ({max})", max = limits::MAX_MESSAGE_BYTES)]
    TooLong(usize),
    /// The bytes do not decode, or bytes are left over.
    #[error("packet of {0} bytes is not a message")]
    Malformed(usize),
    /// The message carries another number of descriptors than its kind has.
    #[error("message with {found} descriptors where its kind carries {expected}")]
    Descriptors {
        /// What the kind carries.
        expected: usize,
        /// What came.
        found: usize,
    },
}

/// Bytes of a message; fails only for one that breaks its own limits.
pub fn encode<M: serde::Serialize>(message: &M) -> Result<Vec<u8>, DecodeError> {
    let bytes = postcard::to_stdvec(message).map_err(|_| DecodeError::Malformed(0))?;
    if bytes.len() > limits::MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The message in a packet, all of it.
pub fn decode<'a, M: serde::Deserialize<'a>>(packet: &'a [u8]) -> Result<M, DecodeError> {
    if packet.len() > limits::MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong(packet.len()));
    }
    match postcard::take_from_bytes(packet) {
        Ok((message, [])) => Ok(message),
        _ => Err(DecodeError::Malformed(packet.len())),
    }
}
