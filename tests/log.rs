//! What a process writes, to be waited for.

use crate::patience::PATIENCE;
use std::io::{BufRead, BufReader, PipeReader};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Standard output and error of a process and its children, as far as they were written.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    pump: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Guards the lines; the condition says that there are more, or that there will be no more.
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    over: bool,
}

impl Log {
    /// Reads the pipe in a thread until nobody holds its other end.
    pub fn pump(pipe: PipeReader) -> Self {
        let shared = Arc::new(Shared::default());
        let filled = Arc::clone(&shared);
        let pump = std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader
                .read_until(b'\n', &mut line)
                .is_ok_and(|bytes| bytes > 0)
            {
                filled
                    .lock()
                    .lines
                    .push(String::from_utf8_lossy(&line).trim_end().to_owned());
                filled.more.notify_all();
                line.clear();
            }
            filled.lock().over = true;
            filled.more.notify_all();
        });
        Self {
            shared,
            pump: Some(pump),
        }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.shared.lock().lines.join("\n")
    }

    /// Number of lines so far: where [`Self::line_after`] begins to look.
    pub fn mark(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// The first line with all of these in it, waiting for it if need be.
    pub fn line(&self, parts: &[&str]) -> String {
        self.line_after(0, parts)
    }

    /// As [`Self::line`], of the lines from a mark on.
    pub fn line_after(&self, mark: usize, parts: &[&str]) -> String {
        let matches = |line: &&String| parts.iter().all(|part| line.contains(part));
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.shared.lock();
        loop {
            if let Some(line) = lines.lines.iter().skip(mark).find(matches) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let seen = lines.lines[mark.min(lines.lines.len())..].join("\n");
            assert!(
                !lines.over && !left.is_zero(),
                "no line of the log has {parts:?} in it:\n{seen}"
            );
            lines = self
                .shared
                .more
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether a line has all of these in it already.
    pub fn says(&self, parts: &[&str]) -> bool {
        self.shared
            .lock()
            .lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    }

    /// Waits until nobody can write any more: the process and all its children are gone. False when the time is over.
    pub fn is_over_within(&self, limit: Duration) -> bool {
        let waiting = |lines: &mut Lines| !lines.over;
        let lines = self
            .shared
            .more
            .wait_timeout_while(self.shared.lock(), limit, waiting);
        lines.unwrap_or_else(PoisonError::into_inner).0.over
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A pump that somebody's leftover child keeps alive is left behind rather than waited for.
        if let Some(pump) = self.pump.take().filter(JoinHandle::is_finished) {
            let _ = pump.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
