//! Waiting for what must happen soon, without betting on how soon.

use std::io::Write;
use std::time::{Duration, Instant};

/// After this, something that must happen is taken as never happening. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until the condition holds; panics with `what` when it never does.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(PATIENCE, condition),
        "never happened within {PATIENCE:?}: {what}"
    );
}

/// Looks until the condition holds or the time is over.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        // Not a bet on timing: only what keeps this loop from taking the processor from those it waits for.
        std::thread::park_timeout(LOOK_AGAIN);
    }
    true
}

/// Runs something that must not block; panics with `what` when it does.
pub fn in_time<T: Send + 'static>(
    what: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = sender.send(work());
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
            panic!("still not over after {limit:?}: {what}")
        }
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("{what} ended without a result"),
        },
    }
}

/// Says that a test, or a part of it, did not happen, past the test harness that swallows what passing tests print.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

const LOOK_AGAIN: Duration = Duration::from_millis(2);
