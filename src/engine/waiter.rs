//! A thread that blocks in the driver while the engine is parked, because a driver's completion wakes no epoll.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use vkmps_gpu::{Device, Timeline};
use vkmps_ipc::{SystemError, wake};

/// The engine's end of the waiter.
#[derive(Debug)]
pub(crate) struct Waiter {
    requests: Sender<Vec<(Timeline, u64)>>,
    busy: Arc<AtomicBool>,
    event: Arc<OwnedFd>,
}

impl Waiter {
    pub(crate) fn start(device: &Arc<Device>) -> Result<Self, SystemError> {
        let (requests, work) = channel();
        let busy = Arc::new(AtomicBool::new(false));
        let event = Arc::new(wake::eventfd()?);
        let thread = Thread {
            device: Arc::clone(device),
            work,
            busy: Arc::clone(&busy),
            event: Arc::clone(&event),
        };
        std::thread::Builder::new()
            .name("waiter".into())
            .spawn(move || thread.run())
            .map_err(|_| SystemError {
                call: "starting a thread",
                errno: nix::errno::Errno::EAGAIN,
            })?;
        Ok(Self {
            requests,
            busy,
            event,
        })
    }

    /// Rings when something watched has completed, or the device is lost.
    pub(crate) fn event(&self) -> &OwnedFd {
        &self.event
    }

    /// Watches for any of these points. False when it still watches for earlier ones: ask again later.
    pub(crate) fn watch(&self, points: Vec<(Timeline, u64)>) -> bool {
        if points.is_empty() {
            return true;
        }
        if self.busy.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.requests.send(points).is_ok()
    }
}

struct Thread {
    device: Arc<Device>,
    work: Receiver<Vec<(Timeline, u64)>>,
    busy: Arc<AtomicBool>,
    event: Arc<OwnedFd>,
}

impl Thread {
    fn run(self) {
        while let Ok(points) = self.work.recv() {
            let points: Vec<_> = points
                .iter()
                .map(|(timeline, value)| (timeline, *value))
                .collect();
            // An error (device lost) ends the wait too: the engine meets it when it looks for itself.
            while let Ok(false) =
                vkmps_gpu::wait_any(&self.device, &points, Duration::from_secs(60))
            {}
            self.busy.store(false, Ordering::Release);
            wake::ring(&*self.event);
        }
    }
}
