//! Descriptors that clients sent, whatever they are.
//!
//! Closing one takes as long as its sender likes, if it is a socket that lingers, a file whose filesystem the sender
//! serves, or a queue of such. So only shared memory is closed where it is dropped, the rest by a few threads that
//! nobody waits for, and no user may leave much more than [`MAX_UNCLOSED`] to them: before more of his packets are read,
//! they have to catch up. What clients of ours send is shared memory, so for others it does not matter when all these
//! threads are stuck.

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::fstat;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A descriptor that came from a client of this user.
#[derive(Debug)]
pub(crate) struct Foreign {
    fd: Option<OwnedFd>,
    uid: u32,
}

impl Foreign {
    pub(crate) fn new(fd: OwnedFd, uid: u32) -> Self {
        Self { fd: Some(fd), uid }
    }

    /// The descriptor, if it is shared memory: nothing that is done with it waits for anybody.
    pub(crate) fn shared_memory(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.fd.as_ref()?.as_fd();
        fcntl(fd, FcntlArg::F_GET_SEALS).is_ok().then_some(fd)
    }

    /// Giving back the pages of much shared memory takes a while too.
    fn closes_at_once(&self) -> bool {
        let blocks = self.shared_memory().and_then(|fd| fstat(fd).ok());
        blocks.is_some_and(|stat| stat.st_blocks <= MAX_BLOCKS)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if self.closes_at_once() {
            return;
        }
        if let Some(fd) = self.fd.take() {
            Graveyard::bury(&GRAVEYARD, fd, self.uid);
        }
    }
}

/// Whether a user has left so much unclosed that no more is taken from him.
pub(crate) fn is_overdrawn(uid: u32) -> bool {
    GRAVEYARD.lock().unclosed(uid) >= MAX_UNCLOSED
}

/// Waits until a user is not (any more) overdrawn.
pub(crate) async fn caught_up(uid: u32) {
    loop {
        // Made before the look: what is closed in between wakes it.
        let closed = GRAVEYARD.closed.notified();
        if !is_overdrawn(uid) {
            return;
        }
        closed.await;
    }
}

/// What is to be closed, and who closes.
#[derive(Debug, Default)]
struct Graveyard {
    plots: Mutex<Plots>,
    /// There is something to close.
    filled: Condvar,
    /// Something was closed.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Plots {
    users: BTreeMap<u32, Plot>,
    closers: usize,
}

/// Of one user: a thread at a time closes for him, so that he cannot have all of them.
#[derive(Debug, Default)]
struct Plot {
    waiting: VecDeque<OwnedFd>,
    /// Whether a thread is closing one.
    closing: bool,
}

static GRAVEYARD: LazyLock<Graveyard> = LazyLock::new(Graveyard::default);

impl Graveyard {
    fn lock(&self) -> MutexGuard<'_, Plots> {
        self.plots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bury(graveyard: &'static Self, fd: OwnedFd, uid: u32) {
        let mut plots = graveyard.lock();
        plots.users.entry(uid).or_default().waiting.push_back(fd);
        if plots.closers < plots.users.len().min(MAX_CLOSERS) {
            let thread = std::thread::Builder::new()
                .name("closer".to_owned())
                .spawn(|| graveyard.close_all());
            match thread {
                Ok(_) => plots.closers += 1,
                // What waits is closed as soon as there is one.
                Err(error) => tracing::warn!(%error, "no thread to close clients' descriptors"),
            }
        }
        drop(plots);
        graveyard.filled.notify_one();
    }

    /// The work of a closer; it lives as long as the process.
    fn close_all(&self) {
        let mut plots = self.lock();
        loop {
            let Some((uid, fd)) = plots.next() else {
                plots = self
                    .filled
                    .wait(plots)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(plots);
            drop(fd);
            plots = self.lock();
            plots.closed(uid);
            self.closed.notify_waiters();
        }
    }
}

impl Plots {
    /// Descriptors of a user that are not closed yet.
    fn unclosed(&self, uid: u32) -> usize {
        let plot = self.users.get(&uid);
        plot.map_or(0, |plot| plot.waiting.len() + usize::from(plot.closing))
    }

    /// One to close now, of a user for whom nobody is closing.
    fn next(&mut self) -> Option<(u32, OwnedFd)> {
        let mut free = self.users.iter_mut().filter(|(_, plot)| !plot.closing);
        let (uid, plot) = free.find(|(_, plot)| !plot.waiting.is_empty())?;
        plot.closing = true;
        Some((*uid, plot.waiting.pop_front()?))
    }

    fn closed(&mut self, uid: u32) {
        if let Some(plot) = self.users.get_mut(&uid) {
            plot.closing = false;
            if plot.waiting.is_empty() {
                self.users.remove(&uid);
            }
        }
    }
}

/// Descriptors that a user may leave unclosed; one packet of 253 more may come on top.
const MAX_UNCLOSED: usize = 64;
/// Threads that close, one for each user who needs one.
const MAX_CLOSERS: usize = 4;
/// Of 512 bytes: twice the largest module, freed in a few milliseconds.
const MAX_BLOCKS: i64 = (32 << 20) / 512;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nix::sys::socket::{setsockopt, sockopt};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// A socket that takes a minute to close while the listener is not read.
    pub(crate) fn lingering(listener: &TcpListener) -> TcpStream {
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut stream, &[0; 65_536]).is_ok() {}
        let for_a_minute = nix::libc::linger {
            l_onoff: 1,
            l_linger: 60,
        };
        setsockopt(&stream, sockopt::Linger, &for_a_minute).unwrap();
        stream
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_makes_a_closer_wait_makes_no_other_user_wait() {
        let (stuck, other) = (4_000_001, 4_000_002);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pipe = || nix::unistd::pipe().unwrap().0;
        drop(Foreign::new(lingering(&listener).into(), stuck));
        for _ in 0..MAX_UNCLOSED {
            drop(Foreign::new(pipe(), stuck));
        }
        assert!(is_overdrawn(stuck));
        for _ in 0..MAX_UNCLOSED {
            drop(Foreign::new(pipe(), other));
        }
        let others = tokio::time::timeout(Duration::from_secs(30), async {
            while GRAVEYARD.lock().unclosed(other) > 0 {
                tokio::task::yield_now().await;
            }
            caught_up(other).await;
        });
        others.await.unwrap();
        assert!(is_overdrawn(stuck));
        // Its peer gone, the socket has nothing left to linger for.
        drop(listener);
        let caught_up = tokio::time::timeout(Duration::from_secs(30), caught_up(stuck));
        caught_up.await.unwrap();
    }

    #[test]
    fn small_shared_memory_needs_no_thread() {
        let user = 4_000_003;
        for _ in 0..2 * MAX_UNCLOSED {
            let memory = vkmps_ipc::memory::memfd_with("module", &[7; 64]).unwrap();
            drop(Foreign::new(memory, user));
            assert_eq!(GRAVEYARD.lock().unclosed(user), 0);
        }
    }
}
