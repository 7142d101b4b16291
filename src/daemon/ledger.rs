//! The daemon's side of the ledger: kept for the engines, read after their deaths.

use nix::fcntl::{FallocateFlags, fallocate};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use vkmps_ipc::SystemError;
use vkmps_ipc::memory::{Region, sealed_memfd};
use vkmps_protocol::handle::ProgramHash;
use vkmps_protocol::ledger::{LEDGER_BYTES, SLOT_BYTES, SUSPECT};
use vkmps_protocol::limits::MAX_SESSIONS;

/// One for all engines of a daemon.
#[derive(Debug)]
pub(crate) struct Ledger {
    memory: OwnedFd,
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, SystemError> {
        Ok(Self {
            memory: sealed_memfd("vkmps-ledger", LEDGER_BYTES as u64)?,
        })
    }

    /// What goes with `Start`.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Programs that a dead engine was busy making; then an empty ledger for the next one, whose sessions are all new.
    pub(crate) fn close_the_books(&self) -> Result<Vec<ProgramHash>, SystemError> {
        let region = Region::map(&self.memory, 0, LEDGER_BYTES)?;
        let mut suspects = Vec::new();
        for slot in 0..MAX_SESSIONS {
            let mut hash = [0; 32];
            region.read(slot * SLOT_BYTES + SUSPECT, &mut hash);
            if hash != [0; 32] && !suspects.contains(&ProgramHash(hash)) {
                suspects.push(ProgramHash(hash));
            }
        }
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
        let ledger = Ledger::new().unwrap();
        let region = Region::map(&ledger.memory, 0, LEDGER_BYTES).unwrap();
        for slot in [3, 700] {
            region.write(slot * SLOT_BYTES + SUSPECT, &[7; 32]);
        }
        assert_eq!(ledger.close_the_books().unwrap(), [ProgramHash([7; 32])]);
        assert_eq!(ledger.close_the_books().unwrap(), []);
    }
}
