//! The daemon's side of the ledger: kept for the engines, read after their deaths.

use crate::statistics::Work;
use nix::fcntl::{FallocateFlags, fallocate};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;
use vkmps_ipc::SystemError;
use vkmps_ipc::memory::{Region, sealed_memfd};
use vkmps_protocol::handle::{ProgramHash, SessionId};
use vkmps_protocol::ledger::{
    BATCHES, DEVICE_TIME_NS, DISPATCHES, LEDGER_BYTES, PREEMPTIONS, QUEUED, RECENT, SAID, SESSION,
    SLICES, SLOT_BYTES, SUBMITS, SUSPECT, WAIT_NS,
};
use vkmps_protocol::limits::MAX_SESSIONS;
use vkmps_protocol::window::Window;

/// One for all engines of a daemon.
#[derive(Debug)]
pub(crate) struct Ledger {
    memory: OwnedFd,
    region: Region,
    /// What the last engine had done for its sessions when it died.
    last: HashMap<SessionId, Work>,
    /// Batches of dead engines.
    past_batches: u64,
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, SystemError> {
        let memory = sealed_memfd("vkmps-ledger", LEDGER_BYTES as u64)?;
        let region = Region::map(&memory, 0, LEDGER_BYTES)?;
        Ok(Self {
            memory,
            region,
            last: HashMap::new(),
            past_batches: 0,
        })
    }

    /// What goes with `Start`.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// The engine has been sent a message, other than the first one.
    pub(crate) fn said(&self) {
        self.region.u64(SAID).fetch_add(1, Ordering::Release);
    }

    /// Batches that the device was ever given.
    pub(crate) fn batches(&self) -> u64 {
        let present = self.region.u64(BATCHES).load(Ordering::Relaxed);
        self.past_batches.saturating_add(present)
    }

    /// What the engine has done for a session, as of now.
    pub(crate) fn work(&self, slot: u32, session: SessionId) -> Work {
        let start = slot as usize * SLOT_BYTES;
        if slot as usize >= MAX_SESSIONS {
            return Work::default();
        }
        let counter = |offset: usize| {
            let mut word = [0];
            self.region.read_words(start + offset, &mut word);
            word[0]
        };
        // The engine has not heard of it yet, and what stands there is its predecessor's; or it has died.
        if counter(SESSION) != session.0 {
            return self.last.get(&session).copied().unwrap_or_default();
        }
        Work {
            dispatches: counter(DISPATCHES),
            device_time: Duration::from_nanos(counter(DEVICE_TIME_NS)),
            // A `u32`; what follows it is not of interest.
            queued: counter(QUEUED)
                .to_ne_bytes()
                .first_chunk()
                .map_or(0, |bytes| u32::from_ne_bytes(*bytes)),
            submits: counter(SUBMITS),
            wait: Duration::from_nanos(counter(WAIT_NS)),
            slices: counter(SLICES),
            preemptions: counter(PREEMPTIONS),
            recent: Window {
                second: counter(RECENT),
                current_ns: counter(RECENT + 8),
                previous_ns: counter(RECENT + 16),
            },
        }
    }

    /// Programs that a dead engine was busy making; then an empty ledger for the next one, whose sessions are all new.
    pub(crate) fn close_the_books(&mut self) -> Result<Vec<ProgramHash>, SystemError> {
        let mut suspects = Vec::new();
        let mut last = HashMap::new();
        for slot in 0..MAX_SESSIONS {
            let mut session = [0];
            self.region
                .read_words(slot * SLOT_BYTES + SESSION, &mut session);
            if let (Ok(number), session @ SessionId(1..)) =
                (u32::try_from(slot), SessionId(session[0]))
            {
                last.insert(session, self.work(number, session));
            }
            let mut hash = [0; 32];
            self.region.read(slot * SLOT_BYTES + SUSPECT, &mut hash);
            if hash != [0; 32] && !suspects.contains(&ProgramHash(hash)) {
                suspects.push(ProgramHash(hash));
            }
        }
        self.last = last;
        self.past_batches = self.batches();
        punch_hole(&self.memory, 0, LEDGER_BYTES as u64)?;
        Ok(suspects)
    }
}

/// Gives the pages of a range of shared memory back; it reads as zeros afterwards.
pub(crate) fn punch_hole(memory: impl AsFd, offset: u64, bytes: u64) -> Result<(), SystemError> {
    let invalid = |_| SystemError {
        call: "fallocate",
        errno: nix::errno::Errno::EINVAL,
    };
    let offset = i64::try_from(offset).map_err(invalid)?;
    let bytes = i64::try_from(bytes).map_err(invalid)?;
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(memory, mode, offset, bytes).map_err(SystemError::of("fallocate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspects_are_named_once_and_forgotten() {
        let mut ledger = Ledger::new().unwrap();
        let region = Region::map(&ledger.memory, 0, LEDGER_BYTES).unwrap();
        for slot in [3, 700] {
            region.write(slot * SLOT_BYTES + SUSPECT, &[7; 32]);
        }
        assert_eq!(ledger.close_the_books().unwrap(), [ProgramHash([7; 32])]);
        assert_eq!(ledger.close_the_books().unwrap(), []);
    }

    #[test]
    fn batches_of_all_engines_are_counted() {
        let mut ledger = Ledger::new().unwrap();
        let region = Region::map(&ledger.memory, 0, LEDGER_BYTES).unwrap();
        for (batches, sum) in [(5, 5), (7, 12), (u64::MAX, u64::MAX)] {
            region.u64(BATCHES).store(batches, Ordering::Relaxed);
            assert_eq!(ledger.batches(), sum);
            ledger.close_the_books().unwrap();
            assert_eq!(ledger.batches(), sum);
        }
    }

    #[test]
    fn what_a_dead_engine_did_is_remembered_until_the_next_one_dies() {
        let mut ledger = Ledger::new().unwrap();
        let region = Region::map(&ledger.memory, 0, LEDGER_BYTES).unwrap();
        let (slot, session) = (5, SessionId(77));
        let write = |offset: usize, value: u64| {
            region.write(slot * SLOT_BYTES + offset, &value.to_ne_bytes());
        };
        write(SESSION, session.0);
        write(DISPATCHES, 9);
        write(DEVICE_TIME_NS, 1500);
        for (offset, value) in [(SUBMITS, 4), (WAIT_NS, 700), (SLICES, 6), (PREEMPTIONS, 1)] {
            write(offset, value);
        }
        for (offset, value) in [(RECENT, 12), (RECENT + 8, 40), (RECENT + 16, 50)] {
            write(offset, value);
        }
        let work = Work {
            dispatches: 9,
            device_time: Duration::from_nanos(1500),
            queued: 0,
            submits: 4,
            wait: Duration::from_nanos(700),
            slices: 6,
            preemptions: 1,
            recent: Window {
                second: 12,
                current_ns: 40,
                previous_ns: 50,
            },
        };
        assert_eq!(ledger.work(5, session), work);
        assert_eq!(ledger.work(5, SessionId(78)), Work::default());
        ledger.close_the_books().unwrap();
        assert_eq!(ledger.work(5, session), work);
        ledger.close_the_books().unwrap();
        assert_eq!(ledger.work(5, session), Work::default());
    }
}
