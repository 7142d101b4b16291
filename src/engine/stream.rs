//! A stream in the engine: its ring, and what of it is not over yet.

use std::collections::VecDeque;
use vkmps_ipc::ring::{Completion, Consumer, RingEnd};
use vkmps_protocol::ErrorCode;
use vkmps_scheduler::StreamKey;

/// An ordered queue of submits of one session.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) consumer: Consumer,
    /// Where its owner sleeps.
    pub(crate) completion: Completion,
    pub(crate) key: StreamKey,
    /// Value that the next submit must carry.
    pub(crate) next_value: u64,
    /// Set from a failure until the client acknowledges it.
    pub(crate) poisoned: bool,
    /// Pieces of a submit that is not complete.
    pub(crate) partial: Option<Partial>,
    /// What is not over, in order.
    entries: VecDeque<Entry>,
    completed: u64,
    failure: Option<(u64, ErrorCode)>,
    /// Whether it waits to be announced.
    pub(crate) touched: bool,
}

/// A submit that travels in pieces.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Empty when `lost`.
    pub(crate) words: Vec<u64>,
    /// Of all pieces so far.
    pub(crate) bytes: usize,
    /// The session had no room for a piece; the submit will be refused.
    pub(crate) lost: bool,
    pub(crate) commands: u32,
    pub(crate) flags: u16,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// What its retirement frees in the ring.
    end: RingEnd,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Running(u64),
    Over(u64, Option<ErrorCode>),
    Acknowledged,
}

/// What a stream's owner is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) completed: u64,
    pub(crate) failure: Option<ErrorCode>,
}

impl Stream {
    pub(crate) fn new(consumer: Consumer, completion: Completion, key: StreamKey) -> Self {
        Self {
            consumer,
            completion,
            key,
            next_value: 1,
            poisoned: false,
            partial: None,
            entries: VecDeque::new(),
            completed: 0,
            failure: None,
            touched: false,
        }
    }

    /// Bytes of a submit that is not complete.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.words.len() * 8)
    }

    /// A submit went to the scheduler.
    pub(crate) fn started(&mut self, value: u64, end: RingEnd) {
        self.entries.push_back(Entry {
            state: State::Running(value),
            end,
        });
    }

    /// A submit failed before it ran; it is over when its predecessors are.
    pub(crate) fn refused(&mut self, value: u64, code: ErrorCode, end: RingEnd) {
        self.poisoned = true;
        self.entries.push_back(Entry {
            state: State::Over(value, Some(code)),
            end,
        });
    }

    /// The client knows of the failure.
    pub(crate) fn acknowledged(&mut self, end: RingEnd) {
        self.poisoned = false;
        self.entries.push_back(Entry {
            state: State::Acknowledged,
            end,
        });
    }

    /// A piece of a submit was copied: its slot goes with whatever came before it.
    pub(crate) fn copied(&mut self, end: RingEnd) {
        match self.entries.back_mut() {
            Some(last) => last.end = end,
            None => self.consumer.retire(end),
        }
    }

    /// The oldest running submit is over.
    pub(crate) fn finished(&mut self, failure: Option<ErrorCode>) {
        let running = self
            .entries
            .iter_mut()
            .find(|entry| matches!(entry.state, State::Running(_)));
        if let Some(Entry { state, .. }) = running
            && let State::Running(value) = *state
        {
            *state = State::Over(value, failure);
            self.poisoned |= failure.is_some();
        }
    }

    /// Publishes what is over without a gap; `record` is called before the client can see it. True if anything was.
    pub(crate) fn publish(&mut self, record: impl FnOnce(Progress, u32)) -> bool {
        let mut last = None;
        let before = self.failure;
        while let Some(Entry { state, .. }) = self.entries.front() {
            match *state {
                State::Running(_) => break,
                State::Over(value, code) => {
                    if let Some(code) = code {
                        self.failure.get_or_insert((value, code));
                    }
                    self.completed = value;
                }
                State::Acknowledged => self.failure = None,
            }
            last = self.entries.pop_front();
        }
        let Some(last) = last else { return false };
        let progress = Progress {
            completed: self.completed,
            failure: self.failure.map(|(_, code)| code),
        };
        record(progress, self.consumer.consumed());
        if self.failure != before {
            self.consumer.set_failure(self.failure);
        }
        self.consumer.retire(last.end);
        self.consumer.complete(self.completed);
        true
    }
}
