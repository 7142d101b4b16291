//! The rings of a session: [`Producer`] in the client, [`Consumer`] in the engine, [`SessionRegion`] for the page above them.
//! The layout is [`vkmps_protocol::ring`]'s.

use crate::memory::Region;
use crate::wake::{futex_wait, futex_wake_all};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::limits::{MAX_STREAMS, RING_PAYLOAD_BYTES, RING_RECORDS};
use vkmps_protocol::ring::{REGION_BYTES, Record, record_offset, session, stream, stream_offset};
use zerocopy::IntoBytes;

/// A session's region with the page that all streams share.
#[derive(Debug, Clone)]
pub struct SessionRegion(pub(crate) Arc<Region>);

impl SessionRegion {
    /// Maps the region that the daemon made.
    pub fn map(fd: impl AsFd) -> Result<Self, crate::SystemError> {
        Region::map(fd, 0, REGION_BYTES).map(|region| Self(Arc::new(region)))
    }

    /// Marks a stream as having new records (client). True when the engine must be rung.
    pub fn mark_dirty(&self, index: usize) -> bool {
        self.0
            .u64(session::DIRTY + index / 64 * 8)
            .fetch_or(1 << (index % 64), Ordering::SeqCst);
        let need = self.0.u32(session::NEED_DOORBELL);
        need.load(Ordering::SeqCst) != 0 && need.swap(0, Ordering::SeqCst) != 0
    }

    /// Takes one word of the dirty bitmap (engine).
    #[inline]
    pub fn take_dirty(&self, word: usize) -> u64 {
        let dirty = self.0.u64(session::DIRTY + word * 8);
        if dirty.load(Ordering::Relaxed) == 0 {
            0
        } else {
            dirty.swap(0, Ordering::SeqCst)
        }
    }

    /// Asks to be rung (engine). True when there is something to do already: the request is withdrawn then.
    pub fn ask_for_doorbell(&self) -> bool {
        self.0
            .u32(session::NEED_DOORBELL)
            .store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let dirty = (0..session::DIRTY_WORDS)
            .any(|word| self.0.u64(session::DIRTY + word * 8).load(Ordering::SeqCst) != 0);
        if dirty {
            self.awake();
        }
        dirty
    }

    /// No bell needed: the engine polls (engine).
    pub fn awake(&self) {
        self.0
            .u32(session::NEED_DOORBELL)
            .store(0, Ordering::Relaxed);
    }

    /// How long waiting clients may poll (engine).
    pub fn set_spin(&self, spin: Duration) {
        let nanoseconds = u32::try_from(spin.as_nanos()).unwrap_or(u32::MAX);
        self.0
            .u32(session::SPIN_NS)
            .store(nanoseconds, Ordering::Relaxed);
    }

    /// How long to poll before sleeping (client); at most a millisecond, whatever stands there.
    pub fn spin(&self) -> Duration {
        Duration::from_nanos(
            self.0
                .u32(session::SPIN_NS)
                .load(Ordering::Relaxed)
                .min(1_000_000)
                .into(),
        )
    }

    /// Says that completions of the session were published (engine).
    #[inline]
    pub fn announce(&self) {
        let activity = self.0.u32(session::ACTIVITY);
        activity.store(
            activity.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Release,
        );
        fence(Ordering::SeqCst);
        if self
            .0
            .u32(session::ACTIVITY_WAITERS)
            .load(Ordering::Relaxed)
            != 0
        {
            futex_wake_all(activity);
        }
    }

    /// The count of publications (client).
    pub fn activity(&self) -> u32 {
        self.0.u32(session::ACTIVITY).load(Ordering::Acquire)
    }

    /// Sleeps until something was published since `seen` (client's reactor).
    pub fn wait_activity(&self, seen: u32, timeout: Duration) {
        let waiters = self.0.u32(session::ACTIVITY_WAITERS);
        waiters.fetch_add(1, Ordering::SeqCst);
        futex_wait(self.0.u32(session::ACTIVITY), seen, timeout);
        waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes the client's own reactor (client).
    pub fn wake_activity(&self) {
        self.0.u32(session::ACTIVITY).fetch_add(1, Ordering::SeqCst);
        futex_wake_all(self.0.u32(session::ACTIVITY));
    }

    /// Ends the session for its client: `code` becomes visible and everybody who waits wakes up (daemon).
    pub fn end(&self, code: ErrorCode) {
        self.0
            .u32(session::STATE)
            .store(code.number().into(), Ordering::SeqCst);
        for index in 0..MAX_STREAMS {
            // Only streams in use are touched: waking a futex in a page that does not exist would create it.
            if self
                .0
                .u64(session::USED + index / 64 * 8)
                .load(Ordering::Relaxed)
                >> (index % 64)
                & 1
                == 1
            {
                let sequence = self.0.u32(stream_offset(index) + stream::SEQUENCE);
                sequence.fetch_add(1, Ordering::SeqCst);
                futex_wake_all(sequence);
            }
        }
        self.0.u32(session::ACTIVITY).fetch_add(1, Ordering::SeqCst);
        futex_wake_all(self.0.u32(session::ACTIVITY));
    }

    /// Why the session is over, if it is (client).
    pub fn ended(&self) -> Option<ErrorCode> {
        match self.0.u32(session::STATE).load(Ordering::Acquire) {
            0 => None,
            number => Some(
                u16::try_from(number)
                    .ok()
                    .and_then(|n| ErrorCode::try_from(n).ok())
                    .unwrap_or(ErrorCode::DaemonLost),
            ),
        }
    }

    /// The client's side of a stream.
    pub fn producer(&self, index: usize) -> Producer {
        self.0
            .u64(session::USED + index / 64 * 8)
            .fetch_or(1 << (index % 64), Ordering::SeqCst);
        let base = stream_offset(index);
        let tail = self.0.u32(base + stream::TAIL).load(Ordering::Relaxed);
        let payload_tail = self
            .0
            .u32(base + stream::PAYLOAD_RETIRED)
            .load(Ordering::Acquire);
        Producer {
            region: self.0.clone(),
            base,
            tail,
            payload_tail,
        }
    }

    /// The engine's side of a stream, from its beginning.
    pub fn consumer(&self, index: usize) -> Consumer {
        Consumer {
            region: self.0.clone(),
            base: stream_offset(index),
            head: 0,
            retired: 0,
            payload_head: 0,
            payload_retired: 0,
        }
    }

    /// What a waiting client looks at.
    pub fn completion(&self, index: usize) -> Completion {
        Completion {
            region: self.0.clone(),
            base: stream_offset(index),
        }
    }
}

/// State of a stream as its client sees it.
#[derive(Debug, Clone)]
pub struct Completion {
    region: Arc<Region>,
    base: usize,
}

impl Completion {
    /// Value of the last completed submit.
    #[inline]
    pub fn completed(&self) -> u64 {
        self.region
            .u64(self.base + stream::COMPLETED)
            .load(Ordering::Acquire)
    }

    /// First failed value that is not acknowledged, and why.
    pub fn failure(&self) -> Option<(u64, ErrorCode)> {
        let at = self
            .region
            .u64(self.base + stream::FAILED_AT)
            .load(Ordering::Acquire);
        let code = self
            .region
            .u32(self.base + stream::ERROR)
            .load(Ordering::Relaxed);
        let code = u16::try_from(code)
            .ok()
            .and_then(|number| ErrorCode::try_from(number).ok());
        (at != 0).then(|| (at, code.unwrap_or(ErrorCode::Protocol)))
    }

    /// Counts completions; read it before deciding to sleep.
    #[inline]
    pub fn sequence(&self) -> u32 {
        self.region
            .u32(self.base + stream::SEQUENCE)
            .load(Ordering::Acquire)
    }

    /// Wakes all who sleep (engine).
    pub fn wake(&self) {
        futex_wake_all(self.region.u32(self.base + stream::SEQUENCE));
    }

    /// Sleeps unless the sequence has moved on.
    pub fn sleep(&self, sequence: u32, timeout: Duration) {
        let waiters = self.region.u32(self.base + stream::WAITERS);
        waiters.fetch_add(1, Ordering::SeqCst);
        futex_wait(
            self.region.u32(self.base + stream::SEQUENCE),
            sequence,
            timeout,
        );
        waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Writes records of one stream.
#[derive(Debug)]
pub struct Producer {
    region: Arc<Region>,
    base: usize,
    tail: u32,
    payload_tail: u32,
}

impl Producer {
    /// Payload bytes that fit now, 0 when no record fits.
    pub fn room(&self) -> usize {
        let retired = self
            .region
            .u32(self.base + stream::RETIRED)
            .load(Ordering::Acquire);
        if self.tail.wrapping_sub(retired) >= RING_RECORDS {
            return 0;
        }
        let payload_retired = self
            .region
            .u32(self.base + stream::PAYLOAD_RETIRED)
            .load(Ordering::Acquire);
        (RING_PAYLOAD_BYTES
            - self
                .payload_tail
                .wrapping_sub(payload_retired)
                .min(RING_PAYLOAD_BYTES)) as usize
    }

    /// Whether another record fits at all.
    pub fn has_slot(&self) -> bool {
        let retired = self
            .region
            .u32(self.base + stream::RETIRED)
            .load(Ordering::Acquire);
        self.tail.wrapping_sub(retired) < RING_RECORDS
    }

    /// Writes a record with its payload, whose length is a multiple of 8 and at most [`Self::room`], and publishes it.
    /// `false`, and nothing happened, when it does not fit.
    pub fn push(&mut self, mut record: Record, payload: &[u8]) -> bool {
        debug_assert!(payload.len().is_multiple_of(8));
        if !self.has_slot() || payload.len() > self.room() {
            return false;
        }
        let Ok(bytes) = u32::try_from(payload.len()) else {
            return false;
        };
        record.payload_offset = self.payload_tail;
        record.payload_bytes = bytes;
        let start = (self.payload_tail & (RING_PAYLOAD_BYTES - 1)) as usize;
        let first = payload.len().min(RING_PAYLOAD_BYTES as usize - start);
        self.region
            .write(self.base + stream::PAYLOAD + start, &payload[..first]);
        self.region
            .write(self.base + stream::PAYLOAD, &payload[first..]);
        self.region
            .write(self.base + record_offset(self.tail), record.as_bytes());
        self.payload_tail = self.payload_tail.wrapping_add(bytes);
        self.tail = self.tail.wrapping_add(1);
        self.region
            .u32(self.base + stream::TAIL)
            .store(self.tail, Ordering::Release);
        true
    }
}

/// Where a ring stands after a record: what retiring it frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingEnd {
    record: u32,
    payload: u32,
}

/// Reads records of one stream; trusts nothing that it reads.
#[derive(Debug)]
pub struct Consumer {
    region: Arc<Region>,
    base: usize,
    head: u32,
    retired: u32,
    payload_head: u32,
    payload_retired: u32,
}

/// What a client's ring said that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingViolation {
    /// The tail is further than the ring is long, or went back.
    #[error("ring tail {tail} with {retired} records retired of a ring of {RING_RECORDS}")]
    Tail {
        /// As read.
        tail: u32,
        /// As known.
        retired: u32,
    },
    /// The payload piece is not where the last one ended, or covers bytes that are in use.
    #[error("payload of {bytes} bytes at {offset}, expected at {expected}")]
    Payload {
        /// As read.
        offset: u32,
        /// As read.
        bytes: u32,
        /// As known.
        expected: u32,
    },
}

impl Consumer {
    /// The next record; its payload is appended to `payload`. Both are private copies.
    pub fn next(
        &mut self,
        payload: &mut Vec<u64>,
    ) -> Result<Option<(Record, RingEnd)>, RingViolation> {
        let tail = self
            .region
            .u32(self.base + stream::TAIL)
            .load(Ordering::Acquire);
        if tail == self.head {
            return Ok(None);
        }
        let unread = tail.wrapping_sub(self.head);
        if unread > RING_RECORDS || tail.wrapping_sub(self.retired) > RING_RECORDS {
            return Err(RingViolation::Tail {
                tail,
                retired: self.retired,
            });
        }
        let mut words = [0_u64; size_of::<Record>() / 8];
        self.region
            .read_words(self.base + record_offset(self.head), &mut words);
        let record: Record = zerocopy::transmute!(words);
        let used = self.payload_head.wrapping_sub(self.payload_retired);
        if record.payload_offset != self.payload_head
            || !record.payload_bytes.is_multiple_of(8)
            || record.payload_bytes > RING_PAYLOAD_BYTES - used
        {
            return Err(RingViolation::Payload {
                offset: record.payload_offset,
                bytes: record.payload_bytes,
                expected: self.payload_head,
            });
        }
        let length = record.payload_bytes as usize / 8;
        let at = payload.len();
        payload.resize(at + length, 0);
        let start = (self.payload_head & (RING_PAYLOAD_BYTES - 1)) as usize;
        let first = length.min((RING_PAYLOAD_BYTES as usize - start) / 8);
        let (one, two) = payload[at..].split_at_mut(first);
        self.region
            .read_words(self.base + stream::PAYLOAD + start, one);
        self.region.read_words(self.base + stream::PAYLOAD, two);
        self.head = self.head.wrapping_add(1);
        self.payload_head = self.payload_head.wrapping_add(record.payload_bytes);
        Ok(Some((
            record,
            RingEnd {
                record: self.head,
                payload: self.payload_head,
            },
        )))
    }

    /// Fetches what [`Self::next`] will read, all of it cold: another core wrote it. Done for many streams before the first
    /// is read, the misses overlap.
    #[inline]
    pub fn prefetch(&self) {
        let payload = (self.payload_head & (RING_PAYLOAD_BYTES - 1)) as usize;
        self.region.prefetch(self.base + stream::TAIL);
        self.region.prefetch(self.base + record_offset(self.head));
        for line in 0..PAYLOAD_LINES {
            self.region
                .prefetch(self.base + stream::PAYLOAD + payload + line * 64);
        }
    }

    /// Records consumed so far, free-running.
    pub fn consumed(&self) -> u32 {
        self.head
    }

    /// Frees everything up to a record that has retired.
    pub fn retire(&mut self, end: RingEnd) {
        self.retired = end.record;
        self.payload_retired = end.payload;
        self.region
            .u32(self.base + stream::PAYLOAD_RETIRED)
            .store(end.payload, Ordering::Release);
        self.region
            .u32(self.base + stream::RETIRED)
            .store(end.record, Ordering::Release);
    }

    /// Publishes that submits up to `value` are over.
    #[inline]
    pub fn complete(&self, value: u64) {
        self.region
            .u64(self.base + stream::COMPLETED)
            .store(value, Ordering::Release);
    }

    /// Poisons the stream from `value` on, or heals it (`None`).
    pub fn set_failure(&self, failure: Option<(u64, ErrorCode)>) {
        let (value, number) =
            failure.map_or((0, 0), |(value, code)| (value, u32::from(code.number())));
        self.region
            .u32(self.base + stream::ERROR)
            .store(number, Ordering::Relaxed);
        self.region
            .u64(self.base + stream::FAILED_AT)
            .store(value, Ordering::Release);
    }

    /// Counts what was published. True when somebody sleeps and wants [`Completion::wake`].
    #[inline]
    pub fn announce(&self) -> bool {
        let sequence = self.region.u32(self.base + stream::SEQUENCE);
        sequence.store(
            sequence.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Release,
        );
        fence(Ordering::SeqCst);
        let waiters = self.region.u32(self.base + stream::WAITERS);
        waiters.load(Ordering::Relaxed) != 0
    }
}

/// Cache lines that a dispatch with a few bindings takes.
const PAYLOAD_LINES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use vkmps_protocol::ring::RecordKind;

    fn region() -> SessionRegion {
        SessionRegion::map(crate::memory::sealed_memfd("ring", REGION_BYTES as u64).unwrap())
            .unwrap()
    }

    fn submit(value: u64) -> Record {
        Record {
            kind: RecordKind::Submit.number(),
            commands: 1,
            value,
            ..Record::default()
        }
    }

    #[test]
    fn payloads_wrap_around_and_slots_are_reused_after_retirement() {
        let region = region();
        let (mut producer, mut consumer) = (region.producer(3), region.consumer(3));
        for value in 1..1000_u64 {
            let payload: Vec<u8> = (0..8 * (value % 1500))
                .map(|byte| (byte * value % 251) as u8)
                .collect();
            assert!(producer.push(submit(value), &payload));
            let mut words = Vec::new();
            let (record, end) = consumer.next(&mut words).unwrap().unwrap();
            assert_eq!((record.value, words.as_bytes()), (value, &payload[..]));
            consumer.retire(end);
        }
        assert_eq!(consumer.next(&mut Vec::new()).unwrap(), None);
    }

    #[test]
    fn a_full_ring_takes_nothing_until_something_retires() {
        let region = region();
        let (mut producer, mut consumer) = (region.producer(0), region.consumer(0));
        let mut pushed = 0;
        while producer.push(submit(pushed + 1), &[]) {
            pushed += 1;
        }
        assert_eq!(pushed, u64::from(RING_RECORDS));
        let (_, end) = consumer.next(&mut Vec::new()).unwrap().unwrap();
        assert!(!producer.has_slot());
        consumer.retire(end);
        assert!(producer.push(submit(pushed + 1), &[]));
        assert!(!producer.push(submit(pushed + 2), &[]));
    }

    #[test]
    fn impossible_indices_are_violations() {
        let region = region();
        let mut consumer = region.consumer(0);
        region
            .0
            .u32(stream_offset(0) + stream::TAIL)
            .store(RING_RECORDS + 1, Ordering::Relaxed);
        assert!(matches!(
            consumer.next(&mut Vec::new()),
            Err(RingViolation::Tail { .. })
        ));
        region
            .0
            .u32(stream_offset(0) + stream::TAIL)
            .store(1, Ordering::Relaxed);
        let record = Record {
            payload_bytes: RING_PAYLOAD_BYTES + 8,
            ..submit(1)
        };
        region
            .0
            .write(stream_offset(0) + record_offset(0), record.as_bytes());
        assert!(matches!(
            consumer.next(&mut Vec::new()),
            Err(RingViolation::Payload { .. })
        ));
    }

    #[test]
    fn a_doorbell_is_asked_for_once_and_never_missed() {
        let region = region();
        assert!(!region.mark_dirty(70));
        assert!(region.ask_for_doorbell());
        assert_eq!(region.take_dirty(1), 1 << 6);
        assert!(!region.ask_for_doorbell());
        assert!(region.mark_dirty(2));
        assert!(!region.mark_dirty(2));
    }

    #[test]
    fn an_ended_session_wakes_who_sleeps() {
        let region = region();
        let (completion, other) = (region.completion(0), region.clone());
        let _producer = region.producer(0);
        let sleeper = std::thread::spawn(move || {
            loop {
                let sequence = completion.sequence();
                if other.ended().is_some() {
                    break;
                }
                completion.sleep(sequence, Duration::from_secs(100));
            }
            other.ended()
        });
        region.end(ErrorCode::EngineLost);
        assert_eq!(sleeper.join().unwrap(), Some(ErrorCode::EngineLost));
    }
}
