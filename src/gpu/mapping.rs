//! Memory that the host sees: other processes and the device may change it at any time.
//!
//! Hence no reference into it exists; bytes are copied in and out by volatile accesses. Accesses from this process
//! exclude each other by a lock, so that they are no data race among themselves.

use crate::error::Error;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::{PoisonError, RwLock};

/// A range of host addresses, mapped as long as this value lives.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<c_void>,
    len: usize,
    owner: Owner,
    /// Guards the bytes against accesses from other threads of this process; held for one copy only, never while waiting.
    lock: RwLock<()>,
}

/// Who ends the mapping.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    /// This value does, by munmap.
    Mapping,
    /// vkFreeMemory does.
    Vulkan,
}

/// Which bytes of which file a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    device: u64,
    inode: u64,
    pub(crate) offset: u64,
}

impl Mapping {
    /// Maps `len` bytes of a memfd that can not shrink. Offset and length are multiples of `alignment` and of a page.
    pub(crate) fn of_sealed(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: u64,
        alignment: u64,
    ) -> Result<(Self, Origin), Error> {
        let alignment = alignment.max(page_bytes());
        if !offset.is_multiple_of(alignment) || !len.is_multiple_of(alignment) {
            return Err(Error::InvalidUse(
                "offset or length of an import is not aligned",
            ));
        }
        let end = offset
            .checked_add(len)
            .ok_or(Error::InvalidUse("an import ends beyond 2^64"))?;
        let seals = fcntl(fd, FcntlArg::F_GET_SEALS)
            .map_err(|_| Error::InvalidUse("an import is not a memfd with seals"))?;
        if !SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK) {
            return Err(Error::InvalidUse(
                "an import is not sealed against shrinking",
            ));
        }
        let stat = nix::sys::stat::fstat(fd).map_err(Error::Mapping)?;
        if u64::try_from(stat.st_size).unwrap_or(0) < end {
            return Err(Error::InvalidUse("an import ends beyond its file"));
        }
        let size = usize::try_from(len).ok().and_then(NonZeroUsize::new);
        let size = size.ok_or(Error::InvalidUse("the length of an import"))?;
        let start =
            i64::try_from(offset).map_err(|_| Error::InvalidUse("the offset of an import"))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other; the file can not shrink (seal
        // and size checked above), so its pages stay accessible.
        let address = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, fd, start) }
            .map_err(mapping_error)?;
        let mapping = Self {
            address,
            len: size.get(),
            owner: Owner::Mapping,
            lock: RwLock::new(()),
        };
        let origin = Origin {
            device: stat.st_dev,
            inode: stat.st_ino,
            offset,
        };
        Ok((mapping, origin))
    }

    /// What vkMapMemory returned.
    ///
    /// # Safety
    /// `len` bytes at `address` stay mapped until after the value is dropped, and this process has no other access.
    pub(crate) unsafe fn of_vulkan(address: NonNull<c_void>, len: usize) -> Self {
        Self {
            address,
            len,
            owner: Owner::Vulkan,
            lock: RwLock::new(()),
        }
    }

    pub(crate) fn address(&self) -> NonNull<c_void> {
        self.address
    }

    /// Copies `bytes.len()` bytes out; `None` if they are not inside.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Option<()> {
        let mut at = self.inside(offset, bytes.len())?.cast_const();
        let _guard = self.lock.read().unwrap_or_else(PoisonError::into_inner);
        let head = at.align_offset(WORD).min(bytes.len());
        let (head, rest) = bytes.split_at_mut(head);
        let (words, tail) = rest.as_chunks_mut::<WORD>();
        at = read_bytes(at, head);
        for word in words {
            // SAFETY: inside the mapping (checked by `inside`) and aligned (`head` ends at an aligned address).
            *word = unsafe { at.cast::<u64>().read_volatile() }.to_ne_bytes();
            at = at.wrapping_add(WORD);
        }
        read_bytes(at, tail);
        Some(())
    }

    /// Copies `bytes` in; `None` if they would not be inside.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Option<()> {
        let mut at = self.inside(offset, bytes.len())?;
        let _guard = self.lock.write().unwrap_or_else(PoisonError::into_inner);
        let head = at.align_offset(WORD).min(bytes.len());
        let (head, rest) = bytes.split_at(head);
        let (words, tail) = rest.as_chunks::<WORD>();
        at = write_bytes(at, head);
        for word in words {
            // SAFETY: inside the mapping (checked by `inside`) and aligned (`head` ends at an aligned address).
            unsafe { at.cast::<u64>().write_volatile(u64::from_ne_bytes(*word)) };
            at = at.wrapping_add(WORD);
        }
        write_bytes(at, tail);
        Some(())
    }

    /// Ends it, and gives the pages of the file under it back to the host.
    pub(crate) fn discard(self) {
        if self.owner != Owner::Mapping {
            return;
        }
        // SAFETY: this value made the mapping and is consumed; who else maps the file sees zeros, which is the aim.
        let discarded = unsafe { madvise(self.address, self.len, MmapAdvise::MADV_REMOVE) };
        if discarded.is_err() {
            // Slower, and just as empty.
            let zeros = [0; 4096];
            for offset in (0..self.len).step_by(zeros.len()) {
                let part = zeros.len().min(self.len - offset);
                self.write(offset as u64, &zeros[..part]);
            }
        }
    }

    fn inside(&self, offset: u64, len: usize) -> Option<*mut u8> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(len)?;
        (end <= self.len).then(|| self.address.as_ptr().cast::<u8>().wrapping_add(offset))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.owner == Owner::Mapping {
            // SAFETY: this value made the mapping; Memory frees what imported it before it drops this.
            let unmapped = unsafe { munmap(self.address, self.len) };
            debug_assert!(unmapped.is_ok(), "munmap of a whole own mapping");
        }
    }
}

// SAFETY: the address is valid in every thread of the process, and the lock orders the accesses.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; all methods copy under the lock.
unsafe impl Sync for Mapping {}

impl Origin {
    /// Where `other` starts relative to this, if both show the same file.
    pub(crate) fn distance(&self, other: &Self) -> Option<i128> {
        let same = self.device == other.device && self.inode == other.inode;
        same.then(|| i128::from(other.offset) - i128::from(self.offset))
    }
}

/// Copies less than a word out; called by [`Mapping::read`] with checked addresses only.
fn read_bytes(mut at: *const u8, bytes: &mut [u8]) -> *const u8 {
    for byte in bytes {
        // SAFETY: inside the mapping: Mapping::read checked the whole range.
        *byte = unsafe { at.read_volatile() };
        at = at.wrapping_add(1);
    }
    at
}

/// Copies less than a word in; called by [`Mapping::write`] with checked addresses only.
fn write_bytes(mut at: *mut u8, bytes: &[u8]) -> *mut u8 {
    for byte in bytes {
        // SAFETY: inside the mapping: Mapping::write checked the whole range.
        unsafe { at.write_volatile(*byte) };
        at = at.wrapping_add(1);
    }
    at
}

fn mapping_error(errno: Errno) -> Error {
    match errno {
        Errno::ENOMEM => Error::OutOfHostMemory,
        other => Error::Mapping(other),
    }
}

fn page_bytes() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

const WORD: usize = size_of::<u64>();
