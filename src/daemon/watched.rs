//! Descriptors in tokio's reactor.

use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers an owner of a descriptor that stays the same and open as long as the owner lives, as all of `ipc` do.
#[expect(
    deprecated,
    reason = "tokio wants this promise in an unsafe block; this crate forbids them, and `ipc` has no tokio"
)]
pub(crate) fn watch<T: AsRawFd>(owner: T, interest: Interest) -> std::io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}
