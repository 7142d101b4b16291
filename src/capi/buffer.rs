//! Buffers.

use crate::boundary::{array, array_mut, borrow, export};
use crate::client::Session;
use crate::failure::Failure;
use std::ffi::{c_int, c_void};
use vkmps::{ErrorCode, Memory};

export! {
    /// Allocates a buffer of zeros; 0 on failure.
    fn vkmps_alloc_buffer(client: *mut Session, size: u64, usage: u32) -> u64 {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        if usage == 0 || usage & !USAGE_ALL != 0 {
            return Err(Failure::new(ErrorCode::InvalidArgument, &format!("{usage:#x} is no usage")));
        }
        let memory = if usage & USAGE_HOST == 0 { Memory::Device } else { Memory::Shared };
        Ok(session.buffers.insert(session.client.alloc(size, memory)?))
    }

    /// Frees a buffer; submits that use it complete first.
    fn vkmps_free_buffer(client: *mut Session, buffer: u64) -> c_int {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        session.buffers.remove(buffer).map(drop)?;
        Ok(OK)
    }

    /// Writes after all earlier submits that use the buffer.
    fn vkmps_write_buffer(
        client: *mut Session,
        buffer: u64,
        offset: u64,
        size: usize,
        data: *const c_void,
    ) -> c_int {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise.
        let data = unsafe { array(data.cast::<u8>(), size, "data") }?;
        session.buffers.find(buffer)?.write(offset, data)?;
        Ok(OK)
    }

    /// Reads after all earlier submits that write the buffer.
    fn vkmps_read_buffer(client: *mut Session, buffer: u64, offset: u64, size: usize, data: *mut c_void) -> c_int {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise; what C has not initialised yet is only written to.
        let data = unsafe { array_mut(data.cast::<u8>(), size, "data") }?;
        session.buffers.find(buffer)?.read(offset, data)?;
        Ok(OK)
    }
}

/// `VKMPS_OK`.
pub(crate) const OK: c_int = 0;
/// `VKMPS_BUFFER_USAGE_HOST`.
const USAGE_HOST: u32 = 0x100;
/// All bits of `VKMPS_BUFFER_USAGE_*`.
const USAGE_ALL: u32 = 0x10f;
