//! A second client that computes throughout and checks every result, whatever somebody else does.

use crate::daemon::Daemon;
use crate::kernels::Adder;
use crate::patience::{PATIENCE, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use vkmps::{Client, Error};

/// The client, in a thread. Dropping it asserts that nothing ever went wrong for it.
#[derive(Debug)]
pub struct Witness {
    state: Arc<State>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    /// Rounds that were right.
    rounds: AtomicU32,
}

impl Witness {
    /// Starts to compute; returns after its first right result.
    pub fn of(daemon: &Daemon) -> Self {
        let client = daemon.try_connect("witness");
        Self::with(client.unwrap_or_else(|error| panic!("witness: {error}")))
    }

    /// The same with a client of one's own.
    pub fn with(client: Client) -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || compute(&client, &shared));
        let witness = Self {
            state,
            thread: Some(thread),
        };
        witness.goes_on();
        witness
    }

    /// Asserts that it gets right results from now on, too: one that was begun after this call is over.
    pub fn goes_on(&self) {
        let before = self.rounds();
        eventually("the witness computes on", || {
            self.rounds() >= before + 2 || self.has_failed()
        });
        assert!(
            !self.has_failed(),
            "the witness met an error or a wrong result (see its panic, or the end of this test)"
        );
    }

    /// Right results so far.
    pub fn rounds(&self) -> u32 {
        self.state.rounds.load(Ordering::Acquire)
    }

    fn has_failed(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A thread that hangs must not make the test hang, too.
        let over = crate::patience::holds_within(PATIENCE, || thread.is_finished());
        if std::thread::panicking() {
            if over {
                eprintln!(
                    "the witness ended with {:?} after {} rounds",
                    thread.join().ok(),
                    self.rounds()
                );
            }
            return;
        }
        assert!(over, "the witness waits for ever");
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!(
                "the witness met an error after {} rounds: {error}",
                self.rounds()
            ),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn compute(client: &Client, state: &State) -> Result<(), Error> {
    let adder = Adder::new(client, 1000)?;
    while !state.stop.load(Ordering::Acquire) {
        adder.round(client, state.rounds.load(Ordering::Relaxed))?;
        state.rounds.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}
