//! Connecting and disconnecting.

use crate::boundary::{export, string};
use crate::failure::Failure;
use crate::handle::Handles;
use std::ffi::{OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use vkmps::{Buffer, Client, ErrorCode, Priority, Program};

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
        connect(unsafe { string(socket_path) }, Priority::Medium)
    }

    /// As `vkmps_connect`, asking for a priority; policy may grant less.
    fn vkmps_connect_with_priority(socket_path: *const c_char, priority: c_int) -> *mut Session {
        let priority = match priority {
            0 => Priority::Low,
            1 => Priority::Medium,
            2 => Priority::High,
            3 => Priority::Realtime,
            _ => return Err(Failure::new(ErrorCode::InvalidArgument, &format!("{priority} is no priority"))),
        };
        // SAFETY: the caller's promise.
        connect(unsafe { string(socket_path) }, priority)
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

fn connect(
    socket_path: Option<&std::ffi::CStr>,
    priority: Priority,
) -> Result<*mut Session, Failure> {
    let mut builder = Client::builder().priority(priority);
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
