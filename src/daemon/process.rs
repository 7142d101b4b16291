//! A process that the spawner started for us: its control socket, its handle, its end.

use crate::happening::{Happening, Happenings};
use crate::watched::watch;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use vkmps_ipc::SystemError;
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_ipc::spawn::{Program, Spawner, kill};

/// Starts processes and numbers them.
#[derive(Debug)]
pub(crate) struct Launcher {
    spawner: Arc<AsyncFd<Spawner>>,
    happenings: Happenings,
    next_id: u64,
}

/// An engine or a compiler. Dropping closes its control socket, at which it exits.
#[derive(Debug)]
pub(crate) struct Process {
    id: u64,
    socket: Arc<AsyncFd<Seqpacket>>,
    reader: JoinHandle<()>,
    pidfd: Option<OwnedFd>,
    pid: Option<u32>,
    launched: Instant,
    /// Whether it is to be killed as soon as there is a handle.
    condemned: bool,
    /// Everything that it sent was read.
    closed: bool,
    /// How it ended.
    ended: Option<String>,
    /// Set by the first sign of its end: the other one is not awaited for ever.
    over_at: Option<Instant>,
}

/// What became of a packet for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It is on its way.
    Sent,
    /// The process has not read what it was sent before.
    Full,
    /// The process is gone; its end is reported separately.
    Gone,
}

impl Launcher {
    /// Processes' packets become happenings.
    pub(crate) fn new(spawner: Arc<AsyncFd<Spawner>>, happenings: Happenings) -> Self {
        Self {
            spawner,
            happenings,
            next_id: 1,
        }
    }

    /// Asks the spawner for a process.
    pub(crate) fn launch(&mut self, program: Program) -> Result<Process, SystemError> {
        let id = self.next_id;
        self.next_id += 1;
        Process::launch(id, self.spawner.get_ref(), program, self.happenings.clone())
    }
}

impl Process {
    fn launch(
        id: u64,
        spawner: &Spawner,
        program: Program,
        happenings: Happenings,
    ) -> Result<Self, SystemError> {
        let (ours, theirs) = Seqpacket::pair()?;
        ours.set_nonblocking(true)?;
        spawner.request(id, program, theirs.as_fd())?;
        let watching = |error: std::io::Error| SystemError {
            call: "watching a control socket",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        };
        let socket =
            Arc::new(watch(ours, Interest::READABLE | Interest::WRITABLE).map_err(watching)?);
        let reader = tokio::spawn(read(id, socket.clone(), happenings));
        Ok(Self {
            id,
            socket,
            reader,
            pidfd: None,
            pid: None,
            launched: Instant::now(),
            condemned: false,
            closed: false,
            ended: None,
            over_at: None,
        })
    }

    /// Its name in reports.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How long ago it was asked for.
    pub(crate) fn age(&self) -> Duration {
        self.launched.elapsed()
    }

    /// Its control socket, to wait until it can be written to.
    pub(crate) fn socket(&self) -> Arc<AsyncFd<Seqpacket>> {
        self.socket.clone()
    }

    /// Sends without waiting.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Delivery {
        match self.socket.get_ref().send(bytes, descriptors) {
            Ok(()) => Delivery::Sent,
            Err(SystemError {
                errno: Errno::EAGAIN | Errno::ETOOMANYREFS,
                ..
            }) => Delivery::Full,
            Err(_) => Delivery::Gone,
        }
    }

    /// Whether there ever was a process.
    pub(crate) fn was_started(&self) -> bool {
        self.pidfd.is_some()
    }

    /// Its pid, for people: it is acted upon by its handle.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The spawner has started it.
    pub(crate) fn started(&mut self, pid: i32, pidfd: OwnedFd) {
        self.pid = u32::try_from(pid).ok();
        self.pidfd = Some(pidfd);
        if self.condemned {
            self.kill();
        }
    }

    /// Ends it; its end is reported as any other.
    pub(crate) fn kill(&mut self) {
        self.condemned = true;
        if let Some(pidfd) = &self.pidfd {
            kill(pidfd.as_fd());
        }
    }

    /// It closed its control socket.
    pub(crate) fn closed(&mut self) {
        self.closed = true;
        self.over_at.get_or_insert(Instant::now() + LAST_WORDS);
        self.kill();
    }

    /// It ended, or never began.
    pub(crate) fn ended(&mut self, how: String) {
        self.ended = Some(how);
        self.over_at.get_or_insert(Instant::now() + LAST_WORDS);
    }

    /// How it ended, once everything it said was heard.
    pub(crate) fn epitaph(&self, now: Instant) -> Option<String> {
        let late = self.over_at.is_some_and(|deadline| deadline <= now);
        match &self.ended {
            Some(how) if self.closed || late => Some(how.clone()),
            None if late => Some("it closed its control socket and does not die".to_owned()),
            _ => None,
        }
    }

    /// When to ask for the epitaph without any news.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.over_at
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A wait status in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exited with status {code}"),
        (None, None) => "ended".to_owned(),
    }
}

async fn read(id: u64, socket: Arc<AsyncFd<Seqpacket>>, happenings: Happenings) {
    loop {
        let Ok(mut guard) = socket.readable().await else {
            break;
        };
        let mut buffer = message_buffer();
        let packet = match socket.get_ref().receive(&mut *buffer) {
            Ok(Some(packet)) => packet,
            Err(SystemError {
                errno: Errno::EAGAIN,
                ..
            }) => {
                guard.clear_ready();
                continue;
            }
            Ok(None) | Err(_) => break,
        };
        let bytes = buffer[..packet.bytes].to_vec();
        let happening = Happening::Process {
            id,
            packet: bytes,
            descriptors: packet.descriptors,
        };
        if happenings.send(happening).await.is_err() {
            return;
        }
    }
    let _ = happenings.send(Happening::ProcessClosed { id }).await;
}

/// Between the two signs of a process's end, its socket and its exit.
const LAST_WORDS: Duration = Duration::from_secs(1);
