//! Programs.

use crate::boundary::{array, borrow, export, string};
use crate::client::Session;
use crate::failure::Failure;
use std::ffi::{c_char, c_void};
use vkmps::ErrorCode;

export! {
    /// Registers a SPIR-V module and waits until it is compiled; 0 on failure. NULL for the entry point means `main`.
    fn vkmps_register_program(
        client: *mut Session,
        spirv: *const c_void,
        size: usize,
        entry: *const c_char,
    ) -> u64 {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise.
        let spirv = unsafe { array(spirv.cast::<u8>(), size, "spirv") }?;
        // SAFETY: the caller's promise.
        let entry = unsafe { string(entry) }.unwrap_or(c"main").to_str();
        let entry = entry.map_err(|_| Failure::new(ErrorCode::InvalidArgument, "entry is not UTF-8"))?;
        Ok(session.programs.insert(session.client.program(spirv).entry(entry).register()?))
    }
}
