//! Waking and being woken: futexes in shared memory, eventfds.

use crate::SystemError;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps until the word is woken, unless it is no longer `expected`. Returns early at will (signals, other wakes): the
/// caller looks again.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // Not FUTEX_PRIVATE: the word is in memory that several processes map.
    // SAFETY: the word is valid for the call and the kernel only reads it; the timeout outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        )
    };
}

/// Wakes all who sleep on the word.
pub fn futex_wake_all(word: &AtomicU32) {
    // SAFETY: the address is only a key to the kernel.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// A new eventfd, non-blocking.
pub fn eventfd() -> Result<OwnedFd, SystemError> {
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    event.map(OwnedFd::from).map_err(SystemError::of("eventfd"))
}

/// Adds one to an eventfd. A full one is as loud as it can be: not an error.
pub fn ring(event: impl AsFd) {
    let _ = nix::unistd::write(event, &1_u64.to_ne_bytes());
}

/// Empties an eventfd.
pub fn silence(event: impl AsFd) {
    let _ = nix::unistd::read(event, &mut [0; 8]);
}

/// Asks the scheduler to prefer this thread: woken clients like to run where their waker runs, and must not push it
/// aside. Needs `CAP_SYS_NICE` or a limit that allows it; without, nothing changes.
pub fn prefer_this_thread() {
    // SAFETY: takes numbers only; 0 names the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// A step of 10 is a tenfold weight: enough to win, not enough to shut others out.
const NICE: i32 = -10;
