//! The thread that wakes tasks which await submits. A connection has none until the first task has to wait.

use crate::connection::{Connection, WAIT_SLICE};
use crate::error::Error;
use crate::lock::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::Waker;
use vkmps_ipc::ring::SessionRegion;
use vkmps_protocol::ErrorCode;

/// Handle of the thread, and what it shares with those who wait.
pub(crate) struct Reactor {
    shared: Arc<Shared>,
    region: SessionRegion,
}

#[derive(Default)]
struct Shared {
    /// Who waits. A mutex and a condition, since the thread sleeps without a timer while nobody waits; tasks are woken
    /// after it was released.
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    tasks: Vec<Task>,
    running: bool,
    closed: bool,
}

struct Task {
    stream: usize,
    value: u64,
    waker: Waker,
}

impl Reactor {
    pub(crate) fn new(region: SessionRegion) -> Self {
        Self {
            shared: Arc::default(),
            region,
        }
    }

    /// Wakes the task once the submit, or the session, is over.
    pub(crate) fn register(
        &self,
        connection: &Arc<Connection>,
        stream: usize,
        value: u64,
        waker: &Waker,
    ) -> Result<(), Error> {
        let mut waiting = lock(&self.shared.waiting);
        let same = |task: &Task| {
            task.stream == stream && task.value == value && task.waker.will_wake(waker)
        };
        if waiting.tasks.iter().any(same) {
            return Ok(());
        }
        if !waiting.running {
            let (shared, region, connection) = (
                self.shared.clone(),
                self.region.clone(),
                Arc::downgrade(connection),
            );
            std::thread::Builder::new()
                .name("vkmps-reactor".to_owned())
                .spawn(move || run(&shared, &region, &connection))
                .map_err(|error| {
                    Error::new(ErrorCode::System, format!("starting a thread: {error}"))
                })?;
            waiting.running = true;
        }
        waiting.tasks.push(Task {
            stream,
            value,
            waker: waker.clone(),
        });
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Ends the thread; it may be the caller.
    pub(crate) fn close(&self) {
        let mut waiting = lock(&self.shared.waiting);
        waiting.closed = true;
        if waiting.running {
            self.shared.changed.notify_one();
            self.region.wake_activity();
        }
    }
}

fn run(shared: &Shared, region: &SessionRegion, connection: &Weak<Connection>) {
    loop {
        if !await_tasks(shared) {
            return;
        }
        // Before looking: what completes later moves the count on and ends the sleep below.
        let seen = region.activity();
        for waker in finished(shared, connection) {
            waker.wake();
        }
        region.wait_activity(seen, WAIT_SLICE);
        if region.activity() == seen
            && let Some(connection) = connection.upgrade()
        {
            // A lost daemon shows in `alive`, which every task then finds.
            let _ = connection.check_peer();
        }
    }
}

/// Sleeps until a task waits; false at the end of the connection.
fn await_tasks(shared: &Shared) -> bool {
    let waiting = lock(&shared.waiting);
    let idle = |waiting: &mut Waiting| waiting.tasks.is_empty() && !waiting.closed;
    let waiting = shared
        .changed
        .wait_while(waiting, idle)
        .unwrap_or_else(PoisonError::into_inner);
    !waiting.closed
}

/// Takes out the tasks whose submits are over.
fn finished(shared: &Shared, connection: &Weak<Connection>) -> Vec<Waker> {
    let connection = connection.upgrade();
    let over = |task: &mut Task| {
        let running = |connection: &Arc<Connection>| {
            connection.alive().is_ok() && !connection.lane(task.stream).is_settled(task.value)
        };
        !connection.as_ref().is_some_and(running)
    };
    let wakers = lock(&shared.waiting)
        .tasks
        .extract_if(.., over)
        .map(|task| task.waker)
        .collect();
    // Possibly the last reference: it takes the lock in `close`, so not before the statement above.
    drop(connection);
    wakers
}
