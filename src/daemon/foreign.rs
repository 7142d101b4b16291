//! Descriptors that clients sent, whatever they are.

use nix::fcntl::{FcntlArg, fcntl};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

/// A client's descriptor. Closing one takes as long as its sender likes, if it is a socket that lingers or a file whose
/// filesystem the sender serves: only shared memory is closed here, the rest by a thread that nobody waits for.
#[derive(Debug)]
pub(crate) struct Foreign(Option<OwnedFd>);

impl Foreign {
    /// The descriptor, if it is shared memory: nothing that is done with it waits for anybody.
    pub(crate) fn shared_memory(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.0.as_ref()?.as_fd();
        fcntl(fd, FcntlArg::F_GET_SEALS).is_ok().then_some(fd)
    }
}

impl From<OwnedFd> for Foreign {
    fn from(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if self.shared_memory().is_some() {
            return;
        }
        if let (Some(fd), Some(closer)) = (self.0.take(), CLOSER.get_or_init(start_closer)) {
            // The thread lives as long as the process.
            let _ = closer.send(fd);
        }
    }
}

/// Started by the first descriptor that no client of ours sends.
static CLOSER: OnceLock<Option<Sender<OwnedFd>>> = OnceLock::new();

fn start_closer() -> Option<Sender<OwnedFd>> {
    let (sender, doomed) = channel();
    let thread = std::thread::Builder::new()
        .name("closer".to_owned())
        .spawn(move || doomed.into_iter().for_each(drop::<OwnedFd>));
    match thread {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "no thread to close clients' descriptors, closing them here");
            None
        }
    }
}
