//! A stream of a hostile session: its ring is used by the rules, its payload says anything.

use crate::hostile::Session;
use crate::patience::eventually;
use vkmps_ipc::ring::{Completion, Producer, SessionRegion};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::Encoder;
use vkmps_protocol::ring::{Record, RecordKind};

/// The stream.
#[derive(Debug)]
pub struct Lane<'a> {
    session: &'a Session,
    producer: Producer,
    completion: Completion,
    rings: SessionRegion,
    index: usize,
    value: u64,
}

impl<'a> Lane<'a> {
    pub(crate) fn new(session: &'a Session, rings: SessionRegion, index: usize) -> Self {
        let (producer, completion) = (rings.producer(index), rings.completion(index));
        Self {
            session,
            producer,
            completion,
            rings,
            index,
            value: 0,
        }
    }

    /// Submits commands and returns the submit's value.
    pub fn submit(&mut self, commands: &Encoder) -> u64 {
        self.submit_bytes(commands.bytes(), commands.commands())
    }

    /// Submits bytes that are said to be so many commands.
    pub fn submit_bytes(&mut self, payload: &[u8], commands: u32) -> u64 {
        self.value += 1;
        let record = Record {
            kind: RecordKind::Submit.number(),
            commands,
            value: self.value,
            ..Record::default()
        };
        self.push(record, payload);
        self.value
    }

    /// Writes any record whose place in the ring is right, waiting for room.
    ///
    /// # Panics
    /// When there is never room.
    pub fn push(&mut self, record: Record, payload: &[u8]) {
        eventually("the ring has room", || {
            self.producer.push(record, payload) || self.rings.ended().is_some()
        });
        self.session.kick(self.index);
    }

    /// Waits until a submit is over and returns how it ended.
    ///
    /// # Errors
    /// The failure that poisoned the stream at or before it; what ended the session.
    pub fn outcome(&self, value: u64) -> Result<(), ErrorCode> {
        eventually("the submit is over", || {
            self.completion.completed() >= value || self.rings.ended().is_some()
        });
        if let Some((_, code)) = self.completion.failure().filter(|(at, _)| *at <= value) {
            return Err(code);
        }
        self.rings.ended().map_or(Ok(()), Err)
    }

    /// Submits and waits.
    ///
    /// # Errors
    /// As [`Self::outcome`].
    pub fn run(&mut self, commands: &Encoder) -> Result<(), ErrorCode> {
        let value = self.submit(commands);
        self.outcome(value)
    }

    /// Tells the engine that the failure is known, and waits until it has forgotten it.
    pub fn acknowledge(&mut self) {
        let record = Record {
            kind: RecordKind::Acknowledge.number(),
            value: self.value,
            ..Record::default()
        };
        self.push(record, &[]);
        eventually("the failure is forgotten", || {
            self.completion.failure().is_none() || self.is_over()
        });
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.rings.ended().is_some()
    }

    /// Whether the stream is poisoned.
    pub fn failed(&self) -> bool {
        self.completion.failure().is_some()
    }
}
