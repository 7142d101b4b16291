//! Buffers that several clients use: what their owner offers, and what others attach.

use crate::allocation::{Allocation, Mapped};
use crate::buffer::Buffer;
use crate::client::Client;
use crate::connection::Connection;
use crate::control::unexpected;
use crate::error::Error;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use vkmps_ipc::memory::{Region, random};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::handle::{BufferId, SessionId};
use vkmps_protocol::message::{ClientMessage, DaemonMessage};
use vkmps_protocol::sharing::{Audience, Grant, ShareName};
use vkmps_protocol::token::Token;

/// Names an offered buffer, and opens it once if it holds a token: such a ticket is a secret between the owner and whom
/// it hands it to. As text it is short and has no spaces.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    name: ShareName,
    token: Option<Token>,
}

impl Client {
    /// Allocates a buffer of zeros that can be offered to other clients. It lives in host memory, counts as this client's
    /// alone, and ends for all when this client frees it or goes.
    ///
    /// # Errors
    /// As [`Client::alloc`].
    pub fn alloc_shareable(&self, bytes: u64) -> Result<Buffer, Error> {
        if bytes == 0 {
            let text = "a buffer of no bytes";
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        self.take_share(&ClientMessage::AllocateShareable { bytes })
    }

    /// Attaches to a buffer that another client offers. Its bytes are the owner's, not a copy. Nothing orders the work of
    /// several clients on it but they themselves. After the owner has freed it or gone, submits with it fail
    /// (`InvalidHandle`) and its bytes are zeros.
    ///
    /// # Errors
    /// `PermissionDenied` where no such offer stands for this client, `LimitReached`; what ended the session.
    pub fn attach(&self, ticket: &Ticket) -> Result<Buffer, Error> {
        let Ticket { name, token } = *ticket;
        self.take_share(&ClientMessage::AttachBuffer { name, token })
    }

    fn take_share(&self, request: &ClientMessage) -> Result<Buffer, Error> {
        let connection = self.connection();
        let shareable = matches!(request, ClientMessage::AllocateShareable { .. });
        let mut control = connection.control();
        let answer = control.request(connection, request, &[])?;
        let (
            DaemonMessage::ShareReady {
                buffer: id,
                bytes,
                grant,
            },
            Some(file),
        ) = (answer, control.share.take())
        else {
            return Err(unexpected(connection));
        };
        let mapped = usize::try_from(bytes)
            .map_err(|_| Error::from(ErrorCode::OutOfHostMemory))
            .and_then(|length| {
                let region = match grant {
                    Grant::ReadWrite => Region::map(&file, 0, length),
                    Grant::ReadOnly => Region::map_to_read(&file, 0, length),
                };
                Ok(Mapped {
                    chunk: Arc::new(region.map_err(Error::system)?),
                    offset: 0,
                    bytes: length,
                    file: None,
                })
            });
        let mapped = mapped.inspect_err(|_| {
            // The daemon still believes that we have it.
            let free = ClientMessage::FreeBuffer { buffer: id };
            let _ = control.request(connection, &free, &[]);
        })?;
        drop(control);
        let allocation = Allocation {
            id,
            bytes,
            mapped: Some(mapped),
            grant,
            shareable,
        };
        Ok(Buffer::new(connection.clone(), allocation))
    }
}

impl Buffer {
    /// Offers the buffer to all clients of a user, as often as they like. Offering it again changes what newcomers get.
    ///
    /// # Errors
    /// `Unsupported` for a buffer that was not allocated to be shared, `LimitReached`; what ended the session.
    pub fn offer_to_user(&self, uid: u32, grant: Grant) -> Result<Ticket, Error> {
        self.offer(Audience::User(uid), grant)?;
        Ok(self.ticket(None))
    }

    /// Offers the buffer to whoever shows the ticket first.
    ///
    /// # Errors
    /// As [`Self::offer_to_user`].
    pub fn offer_once(&self, grant: Grant) -> Result<Ticket, Error> {
        let token = Token(random().map_err(Error::system)?);
        self.offer(Audience::Holder(token), grant)?;
        Ok(self.ticket(Some(token)))
    }

    fn offer(&self, audience: Audience, grant: Grant) -> Result<(), Error> {
        if !self.allocation().shareable {
            let text = "the buffer was not allocated to be shared";
            return Err(Error::new(ErrorCode::Unsupported, text));
        }
        let connection: &Connection = self.connection();
        let request = ClientMessage::OfferBuffer {
            buffer: self.allocation().id,
            audience,
            grant,
        };
        match connection.control().request(connection, &request, &[])? {
            DaemonMessage::Done => Ok(()),
            _ => Err(unexpected(connection)),
        }
    }

    fn ticket(&self, token: Option<Token>) -> Ticket {
        let name = ShareName {
            session: SessionId(self.connection().session()),
            buffer: self.allocation().id,
        };
        Ticket { name, token }
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.name.session.0, self.name.buffer.0)?;
        let Some(token) = self.token else {
            return Ok(());
        };
        f.write_char('.')?;
        f.write_str(&token.hex())
    }
}

/// What opens a buffer stays out of logs.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl FromStr for Ticket {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| Error::new(ErrorCode::InvalidArgument, "not a ticket"))
    }
}

fn parse(text: &str) -> Option<Ticket> {
    let mut parts = text.split('.');
    let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
    let name = ShareName {
        session: SessionId(number()?),
        buffer: BufferId(number()?),
    };
    let token = match parts.next() {
        Some(hex) => Some(hex.parse().ok()?),
        None => None,
    };
    parts.next().is_none().then_some(Ticket { name, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_its_text_and_what_is_none_is_refused() {
        let name = ShareName {
            session: SessionId(7),
            buffer: BufferId(1 << 32 | 5),
        };
        for token in [None, Some(Token([0xa7; 32]))] {
            let ticket = Ticket { name, token };
            assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
            assert!(!format!("{ticket:?}").contains("a7"));
        }
        let long = format!("7.5.{}", "a".repeat(66));
        for text in [
            "",
            "7",
            "7.",
            "7.5.",
            "7.5.zz",
            "7.5.aa",
            "-7.5",
            &long,
            "7.5.\u{e4}",
        ] {
            assert!(text.parse::<Ticket>().is_err(), "{text}");
        }
    }
}
