//! Buffers that several clients use.

use crate::boundary::{array_mut, borrow, export, string};
use crate::buffer::OK;
use crate::client::Session;
use crate::failure::Failure;
use std::ffi::{c_char, c_int};
use vkmps::{ErrorCode, Grant, Ticket};

export! {
    /// Allocates a buffer of zeros that can be offered; 0 on failure.
    fn vkmps_alloc_shareable(client: *mut Session, size: u64) -> u64 {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        Ok(session.buffers.insert(session.client.alloc_shareable(size)?))
    }

    /// Offers a buffer to a user; the ticket is written to `ticket`.
    fn vkmps_offer_to_user(
        client: *mut Session,
        buffer: u64,
        uid: u32,
        grant: c_int,
        ticket: *mut c_char,
        size: usize,
    ) -> c_int {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise; what C has not initialised yet is only written to.
        let room = unsafe { array_mut(ticket.cast::<u8>(), size, "ticket") }?;
        let (buffer, grant) = (session.buffers.find(buffer)?, granted(grant)?);
        check_room(room)?;
        write(&buffer.offer_to_user(uid, grant)?, room)
    }

    /// Offers a buffer to whoever shows the ticket first.
    fn vkmps_offer_once(
        client: *mut Session,
        buffer: u64,
        grant: c_int,
        ticket: *mut c_char,
        size: usize,
    ) -> c_int {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise; what C has not initialised yet is only written to.
        let room = unsafe { array_mut(ticket.cast::<u8>(), size, "ticket") }?;
        let (buffer, grant) = (session.buffers.find(buffer)?, granted(grant)?);
        check_room(room)?;
        write(&buffer.offer_once(grant)?, room)
    }

    /// Attaches to a buffer that was offered; 0 on failure.
    fn vkmps_attach(client: *mut Session, ticket: *const c_char) -> u64 {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise.
        let text = unsafe { string(ticket) }.and_then(|text| text.to_str().ok());
        let invalid = || Failure::new(ErrorCode::InvalidArgument, "not a ticket");
        let ticket: Ticket = text.ok_or_else(invalid)?.parse()?;
        Ok(session.buffers.insert(session.client.attach(&ticket)?))
    }
}

fn granted(grant: c_int) -> Result<Grant, Failure> {
    match grant {
        0 => Ok(Grant::ReadWrite),
        1 => Ok(Grant::ReadOnly),
        _ => Err(Failure::new(
            ErrorCode::InvalidArgument,
            &format!("{grant} is no grant"),
        )),
    }
}

/// Before anything is offered: a ticket that nobody gets opens a buffer all the same.
fn check_room(room: &[u8]) -> Result<(), Failure> {
    if room.len() >= TICKET_BYTES {
        return Ok(());
    }
    let text = "a ticket takes VKMPS_TICKET_SIZE bytes";
    Err(Failure::new(ErrorCode::InvalidArgument, text))
}

/// Writes the text and its end; any ticket fits.
fn write(ticket: &Ticket, room: &mut [u8]) -> Result<c_int, Failure> {
    let text = ticket.to_string();
    let (place, rest) = room.split_at_mut(text.len());
    place.copy_from_slice(text.as_bytes());
    rest[0] = 0;
    Ok(OK)
}

/// `VKMPS_TICKET_SIZE`: two numbers of 16 digits and a token of 64, two dots and the end.
const TICKET_BYTES: usize = 128;
