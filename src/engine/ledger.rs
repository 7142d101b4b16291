//! What was done, written where it survives this process; layout in [`vkmps_protocol::ledger`].

use crate::session::Counters;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use vkmps_ipc::SystemError;
use vkmps_ipc::memory::Region;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::ledger::{
    BATCHES, DEVICE_TIME_NS, DISPATCHES, LEDGER_BYTES, PREEMPTIONS, QUEUED, RECENT, SAID, SESSION,
    SLICES, SLOT_BYTES, STREAMS, SUBMITS, SUSPECT, WAIT_NS, stream, stream_offset,
};
use vkmps_protocol::limits::MAX_SESSIONS;

/// The ledger, mapped.
#[derive(Debug)]
pub(crate) struct Ledger(Region);

/// A session's slot in the ledger, known to exist.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

impl Slot {
    /// The slot of this number, if the ledger has it.
    pub(crate) fn new(number: u32) -> Option<Self> {
        usize::try_from(number)
            .ok()
            .filter(|number| *number < MAX_SESSIONS)
            .map(Slot)
    }
}

impl Ledger {
    pub(crate) fn map(fd: &OwnedFd) -> Result<Self, SystemError> {
        Region::map(fd, 0, LEDGER_BYTES).map(Self)
    }

    /// Gives a slot to a session.
    pub(crate) fn assign(&self, slot: Slot, session: SessionId) {
        // What the last session of the slot left must not be taken for this one's.
        self.0.clear(slot.0 * SLOT_BYTES, SLOT_BYTES);
        self.0
            .u64(slot.0 * SLOT_BYTES + SESSION)
            .store(session.0, Ordering::Release);
    }

    /// A session is gone. Its name and counters stay: vkmpsd adds them up when it hears of it, which may be later.
    pub(crate) fn leave(&self, slot: Slot) {
        let base = slot.0 * SLOT_BYTES;
        self.0.clear(base + SUSPECT, SUSPECT_BYTES);
        self.0.clear(base + STREAMS, SLOT_BYTES - STREAMS);
    }

    /// Messages that vkmpsd has sent. As new as any record of a ring that was read before.
    pub(crate) fn said(&self) -> u64 {
        self.0.u64(SAID).load(Ordering::Acquire)
    }

    /// So many more batches were given to the device; nobody else counts them.
    pub(crate) fn submitted(&self, batches: usize) {
        let count = self.0.u64(BATCHES);
        let sum = count.load(Ordering::Relaxed).wrapping_add(batches as u64);
        count.store(sum, Ordering::Relaxed);
    }

    /// Records what a session's work came to so far.
    pub(crate) fn count(&self, slot: Slot, counters: &Counters) {
        let base = slot.0 * SLOT_BYTES;
        let done = [counters.dispatches, counters.device_time_ns];
        self.0.write_words(base + DISPATCHES, &done);
        let recent = counters.recent;
        let given = [
            counters.submits,
            counters.wait_ns,
            counters.slices,
            counters.preemptions,
            recent.second,
            recent.current_ns,
            recent.previous_ns,
        ];
        self.0.write_words(base + SUBMITS, &given);
        self.0
            .u32(base + QUEUED)
            .store(counters.queued, Ordering::Relaxed);
    }

    /// Records that submits of a stream up to `value` have retired; before the client hears of it.
    pub(crate) fn retired(
        &self,
        slot: Slot,
        index: usize,
        value: u64,
        consumed: u32,
        failure: Option<ErrorCode>,
    ) {
        let base = stream_offset(slot.0, index);
        let error = failure.map_or(0, |code| u32::from(code.number()));
        self.0
            .u32(base + stream::ERROR)
            .store(error, Ordering::Relaxed);
        self.0
            .u32(base + stream::CONSUMED)
            .store(consumed, Ordering::Relaxed);
        self.0
            .u64(base + stream::RETIRED)
            .store(value, Ordering::Release);
    }
}

/// Of a program's hash.
const SUSPECT_BYTES: usize = 32;

// `Ledger::count` writes them in one go.
const _: () = assert!(DEVICE_TIME_NS == DISPATCHES + 8);
const _: () = assert!(WAIT_NS == SUBMITS + 8 && SLICES == SUBMITS + 16);
const _: () = assert!(PREEMPTIONS == SUBMITS + 24 && RECENT == SUBMITS + 32);
