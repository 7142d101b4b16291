//! Crash signals of a standalone daemon: its socket and lock file go before it does.
//!
//! Not for a daemon under systemd: there the socket is not ours, and the handler would hide the core dump.

use crate::SystemError;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// From now on SIGSEGV, SIGABRT and SIGQUIT unlink these files and end the process with 128 + signal. Once per process.
///
/// # Errors
/// Of sigaction; `EINVAL` for a path with a NUL byte, `EALREADY` for a second call.
pub fn unlink_on_crash(files: &[&Path]) -> Result<(), SystemError> {
    let invalid = |_| SystemError {
        call: "crash handler",
        errno: nix::errno::Errno::EINVAL,
    };
    let names: Result<Vec<CString>, _> = files
        .iter()
        .map(|path| CString::new(path.as_os_str().as_bytes()))
        .collect();
    let second = |_| SystemError {
        call: "crash handler",
        errno: nix::errno::Errno::EALREADY,
    };
    FILES.set(names.map_err(invalid)?).map_err(second)?;
    // On the alternate stack that std made for the main thread: a stack overflow is a SIGSEGV, too.
    let action = SigAction::new(
        SigHandler::Handler(unlink_and_exit),
        SaFlags::SA_ONSTACK,
        SigSet::all(),
    );
    for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGQUIT] {
        // SAFETY: the handler calls only what is async-signal-safe (see there).
        let installed = unsafe { sigaction(signal, &action) };
        installed.map_err(SystemError::of("sigaction"))?;
    }
    Ok(())
}

static FILES: OnceLock<Vec<CString>> = OnceLock::new();

/// Allocates nothing and takes no lock: `OnceLock::get` is an atomic load; unlink and _exit are async-signal-safe.
extern "C" fn unlink_and_exit(signal: libc::c_int) {
    for file in FILES.get().into_iter().flatten() {
        // SAFETY: a NUL-terminated string that lives as long as the process.
        unsafe { libc::unlink(file.as_ptr()) };
    }
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(128 + signal) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashing_process_takes_its_files_along() {
        let file = std::env::temp_dir().join(format!("vkmps-crash-{}", std::process::id()));
        std::fs::write(&file, "x").unwrap();
        // SAFETY: the child only installs the handler and raises; it allocates, which glibc permits after fork.
        let forked = unsafe { nix::unistd::fork() }.unwrap();
        if let nix::unistd::ForkResult::Parent { child } = forked {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 128 + 6));
            assert!(!file.exists());
        } else {
            let _ = unlink_on_crash(&[&file]);
            std::process::abort();
        }
    }
}
