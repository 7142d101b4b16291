//! Memory shared with processes that nobody trusts.
//!
//! The rules, for the whole project: what is mapped is a memfd sealed against shrinking, so a mapped page never vanishes
//! under us; no reference into it exists except to atomics; bytes are copied out once and checked afterwards; the other
//! side may write at any time, so nothing that was read is assumed to be read the same again.

use crate::SystemError;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::Mode;
use nix::unistd::Whence;
use std::ffi::CString;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A zeroed memfd of a fixed size: sealed against shrinking, growing and further seals, mode 0600 (a read-only
/// descriptor of a group-readable memfd could be reopened for writing through /proc).
pub fn sealed_memfd(name: &str, bytes: u64) -> Result<OwnedFd, SystemError> {
    let invalid = SystemError {
        call: "memfd_create",
        errno: nix::errno::Errno::EINVAL,
    };
    let name = CString::new(name).map_err(|_| invalid)?;
    let fd = memfd_create(
        name.as_c_str(),
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )
    .map_err(SystemError::of("memfd_create"))?;
    nix::sys::stat::fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(SystemError::of("fchmod"))?;
    nix::unistd::ftruncate(&fd, i64::try_from(bytes).map_err(|_| invalid)?)
        .map_err(SystemError::of("ftruncate"))?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(SystemError::of("fcntl(F_ADD_SEALS)"))?;
    Ok(fd)
}

/// A memfd with these bytes in it, sealed like [`sealed_memfd`].
pub fn memfd_with(name: &str, bytes: &[u8]) -> Result<OwnedFd, SystemError> {
    let fd = sealed_memfd(name, bytes.len() as u64)?;
    let mut written = 0;
    while written < bytes.len() {
        let at = i64::try_from(written).expect("slices are smaller than i64::MAX");
        match nix::sys::uio::pwrite(&fd, &bytes[written..], at) {
            Ok(count) => written += count,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                return Err(SystemError {
                    call: "pwrite",
                    errno,
                });
            }
        }
    }
    Ok(fd)
}

/// Another descriptor of a memfd, which cannot write, nor map it for writing. The memfd's mode keeps other users than its
/// owner and root from opening it anew.
pub fn read_only(fd: impl AsFd) -> Result<OwnedFd, SystemError> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path.as_str(), flags, Mode::empty()).map_err(SystemError::of("open"))
}

/// Bytes that nobody can guess.
pub fn random() -> Result<[u8; 32], SystemError> {
    let mut bytes = [0; 32];
    // SAFETY: the array is valid for its length, and any byte is a valid `u8`.
    let got = unsafe { nix::libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    // So few come whole or not at all.
    if usize::try_from(got) == Ok(bytes.len()) {
        return Ok(bytes);
    }
    Err(SystemError {
        call: "getrandom",
        errno: nix::errno::Errno::last(),
    })
}

/// The next bytes of a memfd, from `start` and before `end`, that were ever written: all others are zeros without pages.
pub fn next_data(
    memfd: impl AsFd,
    start: u64,
    end: u64,
) -> Result<Option<Range<u64>>, SystemError> {
    let seek = |from: u64, whence| match i64::try_from(from) {
        Ok(from) => nix::unistd::lseek(memfd.as_fd(), from, whence),
        Err(_) => Err(nix::errno::Errno::EINVAL),
    };
    let data = match seek(start, Whence::SeekData) {
        Ok(at) => u64::try_from(at).unwrap_or(end),
        Err(nix::errno::Errno::ENXIO) => return Ok(None),
        Err(errno) => {
            return Err(SystemError {
                call: "lseek",
                errno,
            });
        }
    };
    if data >= end {
        return Ok(None);
    }
    let hole = seek(data, Whence::SeekHole).map_err(SystemError::of("lseek"))?;
    let hole = u64::try_from(hole).unwrap_or(end);
    Ok(Some(data..hole.min(end)))
}

/// The first `bytes` of a file or memfd that somebody else may be changing: read, not mapped, so truncation is an error
/// and not a signal.
pub fn read_exactly(fd: impl AsFd, bytes: usize) -> Result<Vec<u8>, SystemError> {
    let mut buffer = vec![0; bytes];
    let mut read = 0;
    while read < bytes {
        let at = i64::try_from(read).expect("slices are smaller than i64::MAX");
        match nix::sys::uio::pread(fd.as_fd(), &mut buffer[read..], at) {
            Ok(0) => {
                return Err(SystemError {
                    call: "pread (file shorter than announced)",
                    errno: nix::errno::Errno::ENODATA,
                });
            }
            Ok(count) => read += count,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                return Err(SystemError {
                    call: "pread",
                    errno,
                });
            }
        }
    }
    Ok(buffer)
}

/// A mapping of a sealed memfd, shared with other processes. Offsets are checked; a wrong one is a bug and panics.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    bytes: usize,
    protection: ProtFlags,
}

// SAFETY: the mapping lives as long as the value and all access goes through atomics or byte copies.
unsafe impl Send for Region {}
// SAFETY: as above; no access needs exclusivity.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `bytes` from `offset` (a multiple of the page size) of a memfd for reading and writing.
    ///
    /// # Errors
    /// `EINVAL` when the memfd is not sealed against shrinking or is shorter than the range.
    pub fn map(fd: impl AsFd, offset: u64, bytes: usize) -> Result<Self, SystemError> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        Self::map_with(fd, offset, bytes, protection)
    }

    /// As [`Self::map`], for a descriptor that cannot be written through: writing panics.
    pub fn map_to_read(fd: impl AsFd, offset: u64, bytes: usize) -> Result<Self, SystemError> {
        Self::map_with(fd, offset, bytes, ProtFlags::PROT_READ)
    }

    fn map_with(
        fd: impl AsFd,
        offset: u64,
        bytes: usize,
        protection: ProtFlags,
    ) -> Result<Self, SystemError> {
        let bad = |call| SystemError {
            call,
            errno: nix::errno::Errno::EINVAL,
        };
        let seals = fcntl(fd.as_fd(), FcntlArg::F_GET_SEALS)
            .map_err(SystemError::of("fcntl(F_GET_SEALS)"))?;
        if !SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK) {
            return Err(bad("mapping memory that can shrink"));
        }
        let size = nix::sys::stat::fstat(fd.as_fd())
            .map_err(SystemError::of("fstat"))?
            .st_size;
        let size = u64::try_from(size).map_err(|_| bad("fstat"))?;
        let end = offset.checked_add(bytes as u64).ok_or(bad("mapping"))?;
        if end > size {
            return Err(bad("mapping beyond the end of the memory"));
        }
        let length = NonZeroUsize::new(bytes).ok_or(bad("mapping of no bytes"))?;
        let offset = i64::try_from(offset).map_err(|_| bad("mapping"))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, offset) };
        let base = base.map_err(SystemError::of("mmap"))?.cast();
        Ok(Self {
            base,
            bytes,
            protection,
        })
    }

    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it is empty; it never is.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether it can be written to.
    pub fn is_writable(&self) -> bool {
        self.protection.contains(ProtFlags::PROT_WRITE)
    }

    /// Start of the mapping, for callers that hand it to a driver or to C. Other processes write to it at any time.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The `u32` at an offset that is a multiple of 4.
    #[inline]
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        // An atomic can be written to; callers of the few regions that cannot do without.
        debug_assert!(self.is_writable());
        assert!(offset.is_multiple_of(4) && offset < self.bytes && self.bytes - offset >= 4);
        // SAFETY: in bounds by the assertion.
        let at = unsafe { self.base.add(offset) };
        // SAFETY: aligned (the base is page-aligned), mapped while `self` lives (sealed against shrinking), and every
        // access to shared memory in this process is atomic or a copy of bytes.
        unsafe { AtomicU32::from_ptr(at.as_ptr().cast()) }
    }

    /// The `u64` at an offset that is a multiple of 8.
    #[inline]
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(self.is_writable());
        assert!(offset.is_multiple_of(8) && offset < self.bytes && self.bytes - offset >= 8);
        // SAFETY: in bounds by the assertion.
        let at = unsafe { self.base.add(offset) };
        // SAFETY: as in `u32`.
        unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) }
    }

    /// Fetches a cache line; a hint, without effect on an offset that is outside.
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if offset < self.bytes {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: in bounds by the condition.
            let at = unsafe { self.base.add(offset) };
            // SAFETY: a prefetch neither reads nor faults as far as the program can tell; SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Copies words out, each read once.
    #[inline]
    pub fn read_words(&self, offset: usize, words: &mut [u64]) {
        assert!(
            offset.is_multiple_of(8)
                && offset <= self.bytes
                && self.bytes - offset >= words.len() * 8
        );
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.u64(offset + index * 8).load(Ordering::Relaxed);
        }
    }

    /// Copies words in.
    #[inline]
    pub fn write_words(&self, offset: usize, words: &[u64]) {
        assert!(
            offset.is_multiple_of(8)
                && offset <= self.bytes
                && self.bytes - offset >= words.len() * 8
        );
        for (index, word) in words.iter().enumerate() {
            self.u64(offset + index * 8).store(*word, Ordering::Relaxed);
        }
    }

    /// Copies bytes out. What another process writes meanwhile arrives torn, as bytes do.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(offset <= self.bytes && self.bytes - offset >= out.len());
        // SAFETY: in bounds by the assertion.
        let from = unsafe { self.base.add(offset) };
        // SAFETY: both ranges are valid for the length and `out` is private memory; any byte is a valid `u8`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), out.as_mut_ptr(), out.len()) };
    }

    /// Copies bytes in.
    pub fn write(&self, offset: usize, data: &[u8]) {
        assert!(self.is_writable());
        assert!(offset <= self.bytes && self.bytes - offset >= data.len());
        // SAFETY: in bounds by the assertion.
        let to = unsafe { self.base.add(offset) };
        // SAFETY: both ranges are valid for the length and `data` is private memory; nobody holds references into ours.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to.as_ptr(), data.len()) };
    }

    /// Sets a range to zero.
    pub fn clear(&self, offset: usize, bytes: usize) {
        assert!(self.is_writable());
        assert!(offset <= self.bytes && self.bytes - offset >= bytes);
        // SAFETY: in bounds by the assertion.
        let to = unsafe { self.base.add(offset) };
        // SAFETY: the range is mapped and writable, and nobody holds references into it.
        unsafe { std::ptr::write_bytes(to.as_ptr(), 0, bytes) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `map`; borrows of it ended with `self`.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_memfd_cannot_be_cut_and_its_bytes_are_shared() {
        let fd = sealed_memfd("test", 8192).unwrap();
        assert!(nix::unistd::ftruncate(&fd, 0).is_err());
        let one = Region::map(&fd, 0, 8192).unwrap();
        let two = Region::map(&fd, 4096, 4096).unwrap();
        one.write(4090, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut out = [0; 2];
        two.read(0, &mut out);
        assert_eq!(out, [7, 8]);
        assert!(Region::map(&fd, 4096, 8192).is_err());
    }

    #[test]
    fn a_reader_s_descriptor_reads_and_does_nothing_else() {
        let fd = memfd_with("test", &[1, 2, 3]).unwrap();
        let reader = read_only(&fd).unwrap();
        assert_eq!(read_exactly(&reader, 3).unwrap(), [1, 2, 3]);
        assert!(nix::sys::uio::pwrite(&reader, &[9], 0).is_err());
        assert!(Region::map(&reader, 0, 3).is_err(), "for writing");
        assert!(fcntl(&reader, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err());
        let mode = nix::sys::stat::fstat(&reader).unwrap().st_mode;
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn memory_that_can_shrink_is_not_mapped() {
        let fd = memfd_create(c"open", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&fd, 4096).unwrap();
        assert!(Region::map(&fd, 0, 4096).is_err());
    }

    #[test]
    fn what_can_be_read_only_cannot_be_mapped_to_write_and_shows_what_others_write() {
        let fd = sealed_memfd("shared", 4096).unwrap();
        let reader = read_only(&fd).unwrap();
        assert!(Region::map(&reader, 0, 4096).is_err());
        assert!(nix::unistd::write(&reader, &[1]).is_err());
        let (mine, theirs) = (
            Region::map(&fd, 0, 4096).unwrap(),
            Region::map_to_read(&reader, 0, 4096).unwrap(),
        );
        mine.write(7, &[9]);
        let mut byte = [0];
        theirs.read(7, &mut byte);
        assert_eq!(byte, [9]);
        let writing = std::panic::catch_unwind(|| theirs.write(0, &[1]));
        assert!(writing.is_err());
    }

    #[test]
    fn pages_that_were_never_written_are_no_data() {
        let fd = sealed_memfd("sparse", 1 << 20).unwrap();
        assert_eq!(next_data(&fd, 0, 1 << 20).unwrap(), None);
        let region = Region::map(&fd, 0, 1 << 20).unwrap();
        region.write(8192, &[1]);
        region.write(100_000, &[1]);
        assert_eq!(next_data(&fd, 0, 1 << 20).unwrap(), Some(8192..12288));
        assert_eq!(next_data(&fd, 8200, 9000).unwrap(), Some(8200..9000));
        assert_eq!(next_data(&fd, 12288, 90_000).unwrap(), None);
    }

    #[test]
    fn a_file_shorter_than_announced_is_an_error() {
        let fd = memfd_with("short", &[1, 2, 3]).unwrap();
        assert_eq!(read_exactly(&fd, 3).unwrap(), [1, 2, 3]);
        assert!(read_exactly(&fd, 4).is_err());
    }
}
