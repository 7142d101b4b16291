//! The daemon's side of the recorder: kept for the engines, shown to administrators.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use vkmps_ipc::SystemError;
use vkmps_ipc::memory::{Region, read_only, sealed_memfd};
use vkmps_protocol::recorder::{HEADER_BYTES, MAGIC, MAGIC_NUMBER, RECORDER_BYTES};

/// One for all engines of a daemon; layout in [`vkmps_protocol::recorder`].
#[derive(Debug)]
pub(crate) struct Recorder {
    memory: OwnedFd,
    /// The same, for readers. Opened early: later nothing is. None where there is no /proc to open it by: the daemon serves
    /// without it.
    reader: Option<OwnedFd>,
}

impl Recorder {
    /// An empty one. Its memory is taken as it is written.
    pub(crate) fn new() -> Result<Self, SystemError> {
        let memory = sealed_memfd("vkmps-recorder", RECORDER_BYTES as u64)?;
        let header = Region::map(&memory, 0, HEADER_BYTES)?;
        header.u64(MAGIC).store(MAGIC_NUMBER, Ordering::Release);
        let reader = read_only(&memory).ok();
        Ok(Self { memory, reader })
    }

    /// What goes with `Start`.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// For an administrator: reads, does not write, as long as it is kept.
    pub(crate) fn reader(&self) -> std::io::Result<OwnedFd> {
        let reader = self.reader.as_ref();
        let missing = || std::io::Error::other("there was no /proc when the daemon started");
        reader.ok_or_else(missing)?.try_clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::uio::{pread, pwrite};

    #[test]
    fn what_an_engine_writes_is_read_by_who_cannot_write() {
        let recorder = Recorder::new().unwrap();
        let reader = recorder.reader().unwrap();
        let engine = Region::map(recorder.descriptor(), 0, RECORDER_BYTES).unwrap();
        let end = RECORDER_BYTES - 8;
        engine
            .u64(end)
            .store(u64::from_ne_bytes(*b"recorded"), Ordering::Release);
        let mut bytes = [0; 8];
        assert_eq!(
            pread(&reader, &mut bytes, i64::try_from(end).unwrap()),
            Ok(8)
        );
        assert_eq!(&bytes, b"recorded");
        assert_eq!(pread(&reader, &mut bytes, 0), Ok(8));
        assert_eq!(u64::from_ne_bytes(bytes), MAGIC_NUMBER);
        assert!(pwrite(&reader, &bytes, 0).is_err());
        assert!(Region::map(&reader, 0, RECORDER_BYTES).is_err());
    }
}
