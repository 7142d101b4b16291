//! Connecting and disconnecting.

use crate::boundary::{export, string};
use crate::failure::Failure;
use crate::handle::Handles;
use std::ffi::{OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use vkmps::{Amount, Buffer, Builder, Client, ErrorCode, Priority, Program};

/// `vkmps_client_t`: a client with the objects that C knows by number.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) buffers: Handles<Buffer>,
    pub(crate) programs: Handles<Program>,
}

export! {
    /// Connects with medium priority; NULL on failure. The caller owns the client until `vkmps_disconnect`.
    fn vkmps_connect(socket_path: *const c_char) -> *mut Session {
        // SAFETY: the caller's promise.
        connect(unsafe { string(socket_path) }, Client::builder())
    }

    /// As `vkmps_connect`, asking for a priority; policy may grant less.
    fn vkmps_connect_with_priority(socket_path: *const c_char, priority: c_int) -> *mut Session {
        let builder = Client::builder().priority(named(priority)?);
        // SAFETY: the caller's promise.
        connect(unsafe { string(socket_path) }, builder)
    }

    /// As `vkmps_connect_with_priority`, with limits that the client sets itself; 0 is none.
    fn vkmps_connect_with_limits(
        socket_path: *const c_char,
        priority: c_int,
        memory: u64,
        active_thread_percentage: u32
    ) -> *mut Session {
        let mut builder = Client::builder().priority(named(priority)?);
        if memory > 0 {
            builder = builder.memory_limit(Amount::Bytes(memory));
        }
        if active_thread_percentage > 0 {
            let percent = u8::try_from(active_thread_percentage).unwrap_or(u8::MAX);
            builder = builder.active_thread_percentage(percent);
        }
        // SAFETY: the caller's promise.
        connect(unsafe { string(socket_path) }, builder)
    }

    /// Ends the session and frees the client. NULL is ignored.
    fn vkmps_disconnect(client: *mut Session) -> () {
        if !client.is_null() {
            // SAFETY: it came from `connect` and the caller gives it up.
            drop(unsafe { Box::from_raw(client) });
        }
        Ok(())
    }
}

fn named(priority: c_int) -> Result<Priority, Failure> {
    let index = usize::try_from(priority).ok();
    let named = index.and_then(|index| Priority::ALL.get(index));
    named.copied().ok_or_else(|| {
        let text = format!("{priority} is no priority");
        Failure::new(ErrorCode::InvalidArgument, &text)
    })
}

fn connect(
    socket_path: Option<&std::ffi::CStr>,
    mut builder: Builder,
) -> Result<*mut Session, Failure> {
    if let Some(path) = socket_path {
        builder = builder.socket(OsStr::from_bytes(path.to_bytes()));
    }
    let (buffers, programs) = (Handles::new("buffer"), Handles::new("program"));
    Ok(Box::into_raw(Box::new(Session {
        client: builder.connect()?,
        buffers,
        programs,
    })))
}
