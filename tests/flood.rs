//! Clients that ask for as much as they can, by the rules.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use vkmps::{Client, Dispatch, Error, Stream, Submission};

/// The clients, each in a thread. Dropping it ends them, with work queued.
#[derive(Debug)]
pub struct Flood {
    state: Arc<State>,
    threads: Vec<JoinHandle<Result<(), Error>>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    finished: AtomicU64,
}

impl Flood {
    /// Each client keeps [`DEPTH`] submits queued on each of so many streams; `make` gives what it submits, in turn.
    pub fn of(
        clients: impl IntoIterator<Item = Client>,
        streams: usize,
        make: fn(&Client) -> Vec<Dispatch>,
    ) -> Self {
        let state = Arc::new(State::default());
        let start = |client: Client| {
            let state = Arc::clone(&state);
            std::thread::spawn(move || flood(&client, streams, &make(&client), &state))
        };
        let threads = clients.into_iter().map(start).collect();
        Self { state, threads }
    }

    /// Submits that are over.
    pub fn finished(&self) -> u64 {
        self.state.finished.load(Ordering::Acquire)
    }

    /// Whether any of its clients met an error: its threads end only then.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        let outcomes: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        if std::thread::panicking() {
            return;
        }
        for outcome in outcomes {
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => panic!("a client that keeps the rules met an error: {error}"),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    }
}

fn flood(
    client: &Client,
    streams: usize,
    dispatches: &[Dispatch],
    state: &State,
) -> Result<(), Error> {
    let mut lanes: Vec<(Stream, VecDeque<Submission>)> = (0..streams)
        .map(|_| Ok((client.stream()?, VecDeque::new())))
        .collect::<Result<_, Error>>()?;
    for dispatch in dispatches.iter().cycle() {
        for (stream, queued) in &mut lanes {
            if state.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            if queued.len() < DEPTH {
                queued.push_back(stream.submit(dispatch)?);
            }
            // Waits only where there is nothing else to do.
            let patience = if queued.len() < DEPTH {
                Duration::ZERO
            } else {
                LOOK_AGAIN
            };
            while let Some(oldest) = queued.front() {
                match oldest.wait_timeout(patience) {
                    Ok(()) => {
                        queued.pop_front();
                        state.finished.fetch_add(1, Ordering::AcqRel);
                    }
                    Err(error) if error.code() == vkmps::ErrorCode::Timeout => break,
                    Err(error) => return Err(error),
                }
                if state.stop.load(Ordering::Acquire) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Submits queued on each stream: within what its ring holds.
pub const DEPTH: usize = 32;
/// How long one stream is waited for before the others get their turn.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
