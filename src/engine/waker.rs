//! Threads that wake clients. Waking a sleeper takes microseconds, most of them to interrupt an idle core, and the woken
//! process likes to run where its waker runs: neither should be the engine's.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use vkmps_ipc::SystemError;
use vkmps_ipc::ring::Completion;

/// The engine's end of the wakers.
#[derive(Debug)]
pub(crate) struct Waker {
    threads: Vec<Sender<Vec<Completion>>>,
    next: usize,
}

impl Waker {
    /// Starts so many threads; with none, [`Self::wake`] does the work itself.
    pub(crate) fn start(count: usize) -> Result<Self, SystemError> {
        let threads = (0..count).map(|_| {
            let (sender, work) = channel();
            std::thread::Builder::new()
                .name("waker".into())
                .spawn(move || run(&work))
                .map_err(|_| SystemError {
                    call: "starting a thread",
                    errno: nix::errno::Errno::EAGAIN,
                })?;
            Ok(sender)
        });
        Ok(Self {
            threads: threads.collect::<Result<_, SystemError>>()?,
            next: 0,
        })
    }

    /// Wakes everybody in the list, which is empty afterwards.
    pub(crate) fn wake(&mut self, sleepers: &mut Vec<Completion>) {
        if self.threads.is_empty() {
            sleepers.drain(..).for_each(|sleeper| sleeper.wake());
        }
        let share = sleepers
            .len()
            .div_ceil(self.threads.len().max(1))
            .max(SHARE);
        while !sleepers.is_empty() {
            let some = sleepers.split_off(sleepers.len().saturating_sub(share));
            self.next = (self.next + 1) % self.threads.len();
            // The threads live as long as this.
            let _ = self.threads[self.next].send(some);
        }
    }
}

fn run(work: &Receiver<Vec<Completion>>) {
    loop {
        let end = Instant::now() + PATIENCE;
        let sleepers = loop {
            match work.try_recv() {
                Ok(sleepers) => break sleepers,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if Instant::now() < end => std::hint::spin_loop(),
                Err(TryRecvError::Empty) => match work.recv() {
                    Ok(sleepers) => break sleepers,
                    Err(_) => return,
                },
            }
        };
        sleepers.iter().for_each(Completion::wake);
    }
}

/// Polling for more to do: about the time between two batches of a busy device.
const PATIENCE: Duration = Duration::from_micros(100);
/// Fewer sleepers are not worth a second thread.
const SHARE: usize = 4;
