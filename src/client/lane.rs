//! The ring of one stream: writing submits into it, and telling how they ended.

use crate::connection::{Connection, WAIT_SLICE};
use crate::error::Error;
use crate::lock::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vkmps_ipc::ring::{Completion, Producer, SessionRegion};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::Encoder;
use vkmps_protocol::limits::{MAX_SUBMIT_BYTES, MAX_SUBMIT_COMMANDS};
use vkmps_protocol::ring::{Record, RecordKind};

/// One stream of a session; lives as long as it, whoever uses the stream.
pub(crate) struct Lane {
    index: usize,
    completion: Completion,
    /// Whose turn it is to submit, with the memory to encode in. Held from the first record of a submit to its last, so
    /// also while its owner waits for room in the ring: the others would wait for the same. Taken before `ring`.
    turn: Mutex<Encoder>,
    /// The ring itself and what became of its submits. A mutex, since nobody ever waits while holding it.
    ring: Mutex<Ring>,
    /// Last value of the last failure that was acknowledged, so that looking at a healthy stream takes no lock.
    acknowledged: AtomicU64,
    /// Moving average of the waits for its submits, ns: when to begin to poll.
    wait_ns: AtomicU64,
}

struct Ring {
    producer: Producer,
    /// Value of the last submit that was begun.
    last: u64,
    /// Acknowledged failures, oldest first: handles of their submits go on reporting them. 24 bytes each.
    failures: Vec<Failure>,
    /// Whether the next submit is preceded by an acknowledgement. It is not written at once, because another thread may
    /// be in the middle of a submit of several records.
    acknowledge: bool,
}

#[derive(Clone, Copy)]
struct Failure {
    first: u64,
    last: u64,
    code: ErrorCode,
}

/// A submit on its way into the ring.
struct Passage<'a> {
    value: Option<u64>,
    commands: u32,
    rest: &'a [u8],
}

impl Lane {
    pub(crate) fn new(region: &SessionRegion, index: usize) -> Self {
        let completion = region.completion(index);
        let producer = region.producer(index);
        let last = completion.completed();
        let ring = Ring {
            producer,
            last,
            failures: Vec::new(),
            acknowledge: false,
        };
        Self {
            index,
            completion,
            turn: Mutex::default(),
            ring: Mutex::new(ring),
            acknowledged: AtomicU64::new(0),
            wait_ns: AtomicU64::new(0),
        }
    }

    /// Encodes in the stream's own memory, submits that and returns its value.
    pub(crate) fn submit(
        &self,
        connection: &Connection,
        encode: impl FnOnce(&mut Encoder) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut encoder = lock(&self.turn);
        encoder.clear();
        encode(&mut encoder)?;
        self.publish(connection, &encoder)
    }

    /// Submits what was encoded elsewhere and returns its value.
    pub(crate) fn submit_encoded(
        &self,
        connection: &Connection,
        encoder: &Encoder,
    ) -> Result<u64, Error> {
        let _turn = lock(&self.turn);
        self.publish(connection, encoder)
    }

    /// Value of the last submit.
    pub(crate) fn last(&self) -> u64 {
        lock(&self.ring).last
    }

    /// How the submit with this value ended, `None` while it runs. Reporting a failure acknowledges it.
    #[inline]
    pub(crate) fn outcome(&self, value: u64) -> Option<Result<(), Error>> {
        if self.completion.completed() < value {
            return None;
        }
        // In this order: an engine that has forgotten a failure was told so after `acknowledged` was stored.
        let failed = self.completion.failure().is_some_and(|(at, _)| at <= value);
        if !failed && self.acknowledged.load(Ordering::Acquire) < value {
            return Some(Ok(()));
        }
        Some(self.failed_outcome(value))
    }

    /// As [`Self::outcome`], but a failure that was acknowledged already is none.
    pub(crate) fn news(&self, value: u64) -> Option<Result<(), Error>> {
        let told = self.is_settled(value) && self.acknowledged.load(Ordering::Acquire) >= value;
        if told {
            Some(Ok(()))
        } else {
            self.outcome(value)
        }
    }

    /// Whether the submit is over, however it ended.
    pub(crate) fn is_settled(&self, value: u64) -> bool {
        self.completion.completed() >= value
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_settled(self.last())
    }

    /// Acknowledges a failure that nobody asked for: the stream gets a new owner.
    pub(crate) fn heal(&self) {
        let last = self.last();
        let _ = self.failed_outcome(last);
    }

    /// How long waits on this stream take.
    pub(crate) fn expected_wait(&self) -> Duration {
        Duration::from_nanos(self.wait_ns.load(Ordering::Relaxed))
    }

    /// A wait took so long. Two threads at once may lose one of their figures: it is an estimate.
    pub(crate) fn waited(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let average = self.wait_ns.load(Ordering::Relaxed);
        let next = average - average / 4 + time / 4;
        self.wait_ns.store(next, Ordering::Relaxed);
    }

    pub(crate) fn sequence(&self) -> u32 {
        self.completion.sequence()
    }

    pub(crate) fn sleep(&self, sequence: u32, timeout: Duration) {
        self.completion.sleep(sequence, timeout);
    }

    fn failed_outcome(&self, value: u64) -> Result<(), Error> {
        let mut ring = lock(&self.ring);
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        if let Some((first, code)) = self.completion.failure() {
            // Up to `acknowledged` the engine merely has not read the acknowledgement yet.
            if first > acknowledged && first <= value {
                let last = ring.last;
                ring.failures.push(Failure { first, last, code });
                ring.acknowledge = true;
                self.acknowledged.store(last, Ordering::Release);
            }
        }
        let after = ring
            .failures
            .partition_point(|failure| failure.first <= value);
        match ring.failures[..after].last() {
            Some(failure) if value <= failure.last => Err(failure.of(value, self.index)),
            _ => Ok(()),
        }
    }

    fn publish(&self, connection: &Connection, encoder: &Encoder) -> Result<u64, Error> {
        let commands = encoder.commands();
        if commands as usize > MAX_SUBMIT_COMMANDS || encoder.bytes().len() > MAX_SUBMIT_BYTES {
            let bytes = encoder.bytes().len();
            let text = format!(
                "a submit of {commands} commands in {bytes} bytes, at most {MAX_SUBMIT_COMMANDS} and {MAX_SUBMIT_BYTES}"
            );
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        let mut passage = Passage {
            value: None,
            commands,
            rest: encoder.bytes(),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            connection.alive()?;
            let sequence = self.sequence();
            if self.push(&mut passage) {
                connection.notify(self.index);
                pause = FIRST_PAUSE;
                if let (Some(value), true) = (passage.value, passage.rest.is_empty()) {
                    return Ok(value);
                }
                continue;
            }
            // Room may come without a completion (pieces that were copied out), hence the growing pause.
            self.sleep(sequence, pause);
            pause = (pause * 2).min(WAIT_SLICE);
            if pause == WAIT_SLICE {
                connection.check_peer()?;
            }
        }
    }

    /// Writes the next record of a submit; false when there is no room for it.
    fn push(&self, passage: &mut Passage<'_>) -> bool {
        let mut ring = lock(&self.ring);
        if passage.value.is_none() && ring.acknowledge {
            let record = Record {
                kind: RecordKind::Acknowledge.number(),
                value: ring.last,
                ..Record::default()
            };
            if !ring.producer.push(record, &[]) {
                return false;
            }
            ring.acknowledge = false;
        }
        let room = ring.producer.room();
        if !ring.producer.has_slot() || room < passage.rest.len().min(PIECE_BYTES) {
            return false;
        }
        let (piece, rest) = passage
            .rest
            .split_at(passage.rest.len().min(room - room % 8));
        let value = passage.value.unwrap_or(ring.last + 1);
        let (kind, commands) = match (passage.value, rest.is_empty()) {
            (None, true) => (RecordKind::Submit, passage.commands),
            (None, false) => (RecordKind::Chunk, passage.commands),
            (Some(_), false) => (RecordKind::Chunk, 0),
            (Some(_), true) => (RecordKind::Last, 0),
        };
        let record = Record {
            kind: kind.number(),
            commands,
            value,
            ..Record::default()
        };
        if !ring.producer.push(record, piece) {
            return false;
        }
        ring.last = value;
        passage.value = Some(value);
        passage.rest = rest;
        true
    }
}

impl Failure {
    fn of(&self, value: u64, stream: usize) -> Error {
        if value == self.first {
            Error::new(self.code, format!("submit {value} of stream {stream}"))
        } else {
            let text = format!(
                "submit {value} of stream {stream} came after submit {}: {}",
                self.first, self.code
            );
            Error::new(ErrorCode::StreamPoisoned, text)
        }
    }
}

/// Smallest piece of a submit that is worth a record, bytes: a quarter of a stream's payload memory.
const PIECE_BYTES: usize = vkmps_protocol::limits::RING_PAYLOAD_BYTES as usize / 4;
/// First pause of a submit that found no room.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
