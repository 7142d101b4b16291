//! A thread for the end of memory: giving gigabytes back to a driver and to the host takes the time that it takes, and
//! nobody's work waits for it.
//!
//! A chunk counts as its owner's until this thread is done with it. So nobody gets more than the limits say by giving
//! memory up while long work still holds it, and the range of an arena serves again only after its pages have gone.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use vkmps_gpu::{Memory, Remains};
use vkmps_ipc::{SystemError, wake};
use vkmps_protocol::handle::ChunkId;

/// The engine's end of it.
#[derive(Debug)]
pub(crate) struct Disposal {
    heir: Sender<Remains>,
    finished: Receiver<ChunkId>,
}

impl Disposal {
    /// `event` rings whenever a chunk is gone.
    pub(crate) fn start(event: &Arc<OwnedFd>) -> Result<Self, SystemError> {
        let (heir, remains) = channel::<Remains>();
        let (done, finished) = channel();
        let event = Arc::clone(event);
        let run = move || {
            while let Ok(remains) = remains.recv() {
                let chunk = ChunkId(remains.name());
                remains.discard();
                if done.send(chunk).is_err() {
                    return;
                }
                wake::ring(&*event);
            }
        };
        std::thread::Builder::new()
            .name("disposal".into())
            .spawn(run)
            .map_err(|_| SystemError {
                call: "starting a thread",
                errno: nix::errno::Errno::EAGAIN,
            })?;
        Ok(Self { heir, finished })
    }

    /// From now on the chunk ends here, once nothing uses it.
    pub(crate) fn awaits(&self, chunk: ChunkId, memory: &Memory) {
        memory.leave_to(chunk.0, self.heir.clone());
    }

    /// The next chunk that is gone.
    pub(crate) fn gone(&self) -> Option<ChunkId> {
        self.finished.try_recv().ok()
    }
}
