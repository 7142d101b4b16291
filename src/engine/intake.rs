//! From the rings of clients into the scheduler.

use crate::check::{self, Refusal};
use crate::engine::{Engine, Failure};
use crate::stream::{Partial, Stream};
use std::time::Duration;
use vkmps_ipc::ring::RingEnd;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::FromEngine;
use vkmps_protocol::limits::{MAX_PARTIAL_BYTES, MAX_QUEUED_BYTES, MAX_SUBMIT_BYTES, RING_RECORDS};
use vkmps_protocol::ring::session::DIRTY_WORDS;
use vkmps_protocol::ring::{FLAG_EXPLICIT, Record, RecordKind};
use vkmps_scheduler::{Input, Order};
use zerocopy::IntoBytes;

impl Engine {
    /// Takes new records of all polled sessions in, of each session a few in turn: whoever has many streams, or fills them
    /// all the time, has no more turns than others. True if there were any.
    pub(crate) fn drain(&mut self) -> Result<bool, Failure> {
        self.find_news();
        let any = !self.arrivals.is_empty();
        let mut streams = 0;
        // Whom the time was too short for is first in the next turn; if its place has another owner by then, that one is
        // merely looked at in vain.
        while let Some(index) = self.arrivals.pop_front() {
            let late = self.drain_session(index, &mut streams)?;
            if let Some(session) = self.sessions[index].as_mut() {
                self.ledger.count(session.slot, &session.counters);
                session.arrived = !session.news.is_empty() && !session.closing;
                if session.arrived {
                    self.arrivals.push_back(index);
                }
            }
            if late {
                break;
            }
        }
        Ok(any)
    }

    /// One session's turn. True when the intake has taken long enough.
    fn drain_session(&mut self, index: usize, streams: &mut usize) -> Result<bool, Failure> {
        let mut records = TURN_RECORDS;
        while records > 0 {
            let next = self.sessions[index].as_mut();
            let Some(number) = next.and_then(|session| session.news.take()) else {
                break;
            };
            if let Err(text) = self.drain_stream(index, number, &mut records)? {
                self.fault(index, text);
            }
            *streams += 1;
            if self.is_late(*streams) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether completions and messages have waited long enough for the intake; asks the clock now and then only.
    fn is_late(&self, streams: usize) -> bool {
        streams.is_multiple_of(8) && self.clock.elapsed().saturating_sub(self.now) > INTAKE_TIME
    }

    /// Lists the sessions with new records, and has those fetched.
    fn find_news(&mut self) {
        for &index in &self.hot {
            let Some(session) = self.sessions[index].as_mut() else {
                continue;
            };
            for word in 0..DIRTY_WORDS {
                let mut bits = session.region.take_dirty(word);
                if bits == 0 {
                    continue;
                }
                session.active = self.now;
                session.news.add(word, bits);
                if !std::mem::replace(&mut session.arrived, true) {
                    self.arrivals.push_back(index);
                }
                while bits != 0 {
                    let number = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if let Some(stream) = session.streams[number].as_ref() {
                        stream.consumer.prefetch();
                    }
                }
            }
        }
    }

    /// Takes records of one stream in, so many at most: a client that never stops writing must not keep the engine from
    /// the others. The inner error is the session's fault.
    fn drain_stream(
        &mut self,
        index: usize,
        number: usize,
        records: &mut u32,
    ) -> Result<Result<(), String>, Failure> {
        while *records > 0 {
            *records -= 1;
            let Some(session) = self.sessions[index]
                .as_mut()
                .filter(|session| !session.closing)
            else {
                return Ok(Ok(()));
            };
            let (scheduler, region, client) =
                (&mut self.scheduler, &session.region, session.client);
            let stream = session.streams[number].get_or_insert_with(|| {
                Box::new(Stream::new(
                    region.consumer(number),
                    region.completion(number),
                    scheduler.open(client),
                ))
            });
            self.payload.clear();
            let (record, end) = match stream.consumer.next(&mut self.payload) {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(Ok(())),
                Err(violation) => return Ok(Err(format!("stream {number}: {violation}"))),
            };
            if let Err(text) = self.take_record(index, number, record, end)? {
                return Ok(Err(format!("stream {number}: {text}")));
            }
        }
        if let Some(session) = self.sessions[index].as_mut() {
            session.news.put_back(number);
        }
        Ok(Ok(()))
    }

    /// One record with its payload in `self.payload`.
    fn take_record(
        &mut self,
        index: usize,
        number: usize,
        record: Record,
        end: RingEnd,
    ) -> Result<Result<(), &'static str>, Failure> {
        let payload = std::mem::take(&mut self.payload);
        let result = match self.begin(index, number, &record, &payload, end) {
            Err(text) => Ok(Err(text)),
            Ok(None) => {
                self.touch(index, number);
                Ok(Ok(()))
            }
            Ok(Some(Whole { words, shape })) => {
                let words = words.as_deref().unwrap_or(&payload);
                self.submit(index, number, record.value, words.as_bytes(), shape, end)
            }
        };
        self.payload = payload;
        result
    }

    /// A whole submit: becomes a job, or poisons its stream.
    fn submit(
        &mut self,
        index: usize,
        number: usize,
        value: u64,
        payload: &[u8],
        shape: Shape,
        end: RingEnd,
    ) -> Result<Result<(), &'static str>, Failure> {
        let job = self.jobs.take();
        // vkmpsd tells us of an object, or of its end, before it tells the client, but on another road.
        if self.ledger.said() != self.heard {
            self.read_control()?;
        }
        let resolved = self.resolve(index, number, payload, shape, job);
        let now = self.now;
        // Both are there, unless vkmpsd has just said that the session is over.
        let Some(session) = self.sessions[index].as_mut() else {
            self.jobs.give_back(job);
            return Ok(Ok(()));
        };
        let Some(stream) = session.streams[number].as_mut() else {
            self.jobs.give_back(job);
            return Ok(Ok(()));
        };
        let refusal = match resolved {
            Ok(()) if stream.poisoned => ErrorCode::StreamPoisoned,
            Ok(()) => {
                stream.started(value, end);
                session.jobs += 1;
                let state = self.jobs.get_mut(job);
                (state.session, state.stream) = (index, number);
                let work = state.work();
                (state.number, state.accepted, state.program) = (value, now, work.program);
                state.payload_bytes = payload.len();
                session.queued_bytes += payload.len();
                session.counters.queued += 1;
                let order = if shape.explicit {
                    Order::Explicit
                } else {
                    Order::Automatic
                };
                let stages = u32::try_from(state.stages.len()).unwrap_or(u32::MAX).max(1);
                let input = Input::Submitted {
                    stream: stream.key,
                    job,
                    hazards: &state.hazards,
                    order,
                    stages,
                    work,
                };
                self.scheduler.handle(input, now, &mut self.actions);
                return Ok(Ok(()));
            }
            Err(Refusal::Malformed(text)) => {
                self.jobs.give_back(job);
                return Ok(Err(text));
            }
            Err(Refusal::Code(code)) => code,
        };
        self.jobs.give_back(job);
        let first = !stream.poisoned;
        stream.refused(value, refusal, end);
        if let Some(suppressed) = session.refusals.admit(now).filter(|_| first) {
            let (session, stream) = (session.id, u32::try_from(number).unwrap_or(u32::MAX));
            self.tell(FromEngine::SubmitRefused {
                session,
                stream,
                value,
                code: refusal,
                suppressed,
            });
        }
        self.touch(index, number);
        Ok(Ok(()))
    }

    fn resolve(
        &mut self,
        index: usize,
        number: usize,
        payload: &[u8],
        shape: Shape,
        job: vkmps_scheduler::JobKey,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions[index].as_ref() else {
            return Err(ErrorCode::InvalidHandle.into());
        };
        let too_many = session.counters.queued >= session.max_submits
            || u32::try_from(number).is_ok_and(|number| number >= session.max_streams);
        if too_many || shape.lost || session.queued_bytes + payload.len() > MAX_QUEUED_BYTES {
            return Err(ErrorCode::LimitReached.into());
        }
        let limits = &self.device.info().limits;
        check::resolve(
            payload,
            shape.commands,
            shape.explicit,
            &session.objects,
            limits,
            self.jobs.get_mut(job),
        )
    }

    /// Gives a record to its stream; what it completes, if anything.
    fn begin(
        &mut self,
        index: usize,
        number: usize,
        record: &Record,
        payload: &[u64],
        end: RingEnd,
    ) -> Result<Option<Whole>, &'static str> {
        let Some(session) = self.sessions[index].as_mut() else {
            return Ok(None);
        };
        let Some(stream) = session.streams[number].as_mut() else {
            return Ok(None);
        };
        let full = session.partial_bytes + payload.len() * 8 > MAX_PARTIAL_BYTES;
        session.partial_bytes -= stream.partial_bytes();
        let begun = stream.begin(record, payload, end, full);
        session.partial_bytes += stream.partial_bytes();
        begun
    }
}

/// One turn's intake: clients that fill all their streams again and again must not keep the others from their
/// completions.
const INTAKE_TIME: Duration = Duration::from_millis(1);

/// What a session may have taken in before it is the next one's turn: as much as one stream's ring holds.
const TURN_RECORDS: u32 = RING_RECORDS;

/// A submit that is complete; its words where it came in pieces.
struct Whole {
    words: Option<Vec<u64>>,
    shape: Shape,
}

/// What a submit's records say of it.
#[derive(Clone, Copy)]
struct Shape {
    commands: u32,
    explicit: bool,
    /// Its words were not kept: the session had no room for them.
    lost: bool,
}

impl Stream {
    /// Takes a record in; `Some` when it completes a submit. The error is the session's fault. `full`: there is no room
    /// for a piece.
    fn begin(
        &mut self,
        record: &Record,
        payload: &[u64],
        end: RingEnd,
        full: bool,
    ) -> Result<Option<Whole>, &'static str> {
        let kind = RecordKind::try_from(record.kind).map_err(|()| "unknown kind of record")?;
        if record.reserved != [0; 5] || record.flags & !FLAG_EXPLICIT != 0 {
            return Err("reserved field is not zero");
        }
        if kind == RecordKind::Acknowledge {
            self.acknowledged(end);
            return Ok(None);
        }
        if record.value != self.next_value {
            return Err("values of submits are not consecutive");
        }
        let (commands, flags) = (record.commands, record.flags);
        if kind == RecordKind::Submit {
            if self.partial.is_some() {
                return Err("submit inside another");
            }
            self.next_value += 1;
            let explicit = flags & FLAG_EXPLICIT != 0;
            let lost = false;
            return Ok(Some(Whole {
                words: None,
                shape: Shape {
                    commands,
                    explicit,
                    lost,
                },
            }));
        }
        let partial = self.partial.get_or_insert_with(|| Partial {
            words: Vec::new(),
            bytes: 0,
            lost: false,
            commands,
            flags,
        });
        partial.bytes += payload.len() * 8;
        if partial.bytes > MAX_SUBMIT_BYTES {
            return Err("submit is too large");
        }
        if full {
            partial.lost = true;
            partial.words = Vec::new();
        }
        if !partial.lost {
            partial.words.extend_from_slice(payload);
        }
        if kind == RecordKind::Chunk {
            if payload.is_empty() {
                return Err("piece of a submit without a byte");
            }
            self.copied(end);
            return Ok(None);
        }
        self.next_value += 1;
        let Some(partial) = self.partial.take() else {
            return Ok(None);
        };
        Ok(Some(Whole {
            words: Some(partial.words),
            shape: Shape {
                commands: partial.commands,
                explicit: partial.flags & FLAG_EXPLICIT != 0,
                lost: partial.lost,
            },
        }))
    }
}
