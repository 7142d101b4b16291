//! Attempts at what a sandbox must refuse, for the processes that prove theirs. What succeeds is undone at once.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use nix::unistd::Pid;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

/// A call that is only made to see whether it is refused; all its arguments are 0, so that it does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Programs in the kernel.
    Bpf,
    /// System calls by a ring, past every filter.
    IoUringSetup,
    /// The kernel's keys.
    Keyctl,
    /// Sampling other processes.
    PerfEventOpen,
    /// Another process's memory.
    ProcessVmReadv,
    /// Stalling the kernel at a page.
    Userfaultfd,
}

/// Makes a call of all zeros.
pub fn call(call: Call) -> Result<(), Errno> {
    let number = match call {
        Call::Bpf => libc::SYS_bpf,
        Call::IoUringSetup => libc::SYS_io_uring_setup,
        Call::Keyctl => libc::SYS_keyctl,
        Call::PerfEventOpen => libc::SYS_perf_event_open,
        Call::ProcessVmReadv => libc::SYS_process_vm_readv,
        Call::Userfaultfd => libc::SYS_userfaultfd,
    };
    // SAFETY: none of these calls touches memory of ours when its arguments are null and 0; a descriptor that one
    // returns is leaked, which nobody misses in a process that is about to end.
    let result = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// Starts another process.
pub fn fork() -> Result<(), Errno> {
    // SAFETY: the child does nothing but end.
    match unsafe { nix::unistd::fork() }? {
        // SAFETY: ends the process without running anything of it.
        nix::unistd::ForkResult::Child => unsafe { libc::_exit(0) },
        nix::unistd::ForkResult::Parent { .. } => Ok(()),
    }
}

/// A way to have another process signalled when something happens to a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Naming who is signalled.
    Owner,
    /// The same by its older name.
    Group,
    /// Turning signals on.
    Switch,
    /// The same as a flag.
    Flag,
}

/// Has a process signalled for a descriptor.
pub fn alarm(alarm: Alarm, descriptor: impl AsFd, pid: Pid) -> Result<(), Errno> {
    let fd = descriptor.as_fd().as_raw_fd();
    let (pid, nobody) = (pid.as_raw(), 0);
    let by_ioctl = |request, value: libc::c_int| {
        // SAFETY: all three requests read an int.
        Errno::result(unsafe { libc::ioctl(fd, request, &raw const value) }).map(drop)
    };
    match alarm {
        Alarm::Owner => by_ioctl(FIOSETOWN, pid).inspect(|()| _ = by_ioctl(FIOSETOWN, nobody)),
        Alarm::Group => by_ioctl(SIOCSPGRP, pid).inspect(|()| _ = by_ioctl(SIOCSPGRP, nobody)),
        Alarm::Switch => by_ioctl(libc::FIOASYNC, 1).inspect(|()| _ = by_ioctl(libc::FIOASYNC, 0)),
        Alarm::Flag => {
            let flags = OFlag::from_bits_retain(fcntl(&descriptor, FcntlArg::F_GETFL)?);
            let set = |flags| fcntl(&descriptor, FcntlArg::F_SETFL(flags)).map(drop);
            set(flags | OFlag::O_ASYNC).inspect(|()| _ = set(flags))
        }
    }
}

/// Has a process scheduled by other rules: on other cores, with another weight, in another class. It stays as it was.
pub fn reschedule(what: Rule, pid: Pid) -> Result<(), Errno> {
    match what {
        Rule::Cores => sched_setaffinity(pid, &sched_getaffinity(pid)?),
        Rule::Weight => {
            let who = pid.as_raw().cast_unsigned();
            Errno::clear();
            // SAFETY: takes numbers only. -1 is a weight too.
            let weight = unsafe { libc::getpriority(libc::PRIO_PROCESS, who) };
            if weight == -1 && Errno::last_raw() != 0 {
                return Err(Errno::last());
            }
            // SAFETY: as above.
            Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, who, weight) }).map(drop)
        }
        Rule::Class => {
            let mut parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: takes a number.
            let class = Errno::result(unsafe { libc::sched_getscheduler(pid.as_raw()) })?;
            // SAFETY: the parameters outlive both calls.
            Errno::result(unsafe { libc::sched_getparam(pid.as_raw(), &raw mut parameters) })?;
            // SAFETY: as above.
            let set =
                unsafe { libc::sched_setscheduler(pid.as_raw(), class, &raw const parameters) };
            Errno::result(set).map(drop)
        }
    }
}

/// How a process is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// On which cores.
    Cores,
    /// Its nice value.
    Weight,
    /// Normal, batch, idle, real time.
    Class,
}

/// Maps a page writable and executable at once.
pub fn map_writable_executable() -> Result<(), Errno> {
    Page::map(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC).map(drop)
}

/// Makes a writable page executable too.
pub fn make_writable_executable() -> Result<(), Errno> {
    let page = Page::map(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    page.protect(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC)
}

/// Makes a page executable that was writable before.
pub fn make_written_executable() -> Result<(), Errno> {
    let page = Page::map(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    page.protect(ProtFlags::PROT_READ | ProtFlags::PROT_EXEC)
}

/// Maps a file executable in which everybody who has it open writes.
pub fn map_shared_executable(file: impl AsFd) -> Result<(), Errno> {
    let flags = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory, and nothing reads it.
    let at = unsafe { mmap(None, BYTES, flags, MapFlags::MAP_SHARED, file, 0) }?;
    drop(Page(at));
    Ok(())
}

/// A page of its own.
struct Page(NonNull<c_void>);

impl Page {
    fn map(protection: ProtFlags) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        unsafe { mmap_anonymous(None, BYTES, protection, MapFlags::MAP_PRIVATE) }.map(Self)
    }

    fn protect(&self, protection: ProtFlags) -> Result<(), Errno> {
        // SAFETY: the page is this value's alone, and nothing refers into it.
        unsafe { mprotect(self.0, BYTES.get(), protection) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by this value with this length, and nothing refers into it.
        let _ = unsafe { munmap(self.0, BYTES.get()) };
    }
}

/// The same on all architectures that there are filters for.
const FIOSETOWN: libc::Ioctl = 0x8901;
const SIOCSPGRP: libc::Ioctl = 0x8902;
const BYTES: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not 0");

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::getppid;

    #[test]
    fn what_is_not_refused_succeeds_and_is_undone() {
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap();
        make_written_executable().unwrap();
        map_writable_executable().unwrap();
        make_writable_executable().unwrap();
        let file = crate::memory::memfd_with("vkmps-code", &[0; 4096]).unwrap();
        map_shared_executable(&file).unwrap();
        let (socket, _other) = crate::socket::Seqpacket::pair().unwrap();
        for way in [Alarm::Owner, Alarm::Group, Alarm::Switch, Alarm::Flag] {
            alarm(way, &socket, getppid()).unwrap();
        }
        let flags = fcntl(&socket, FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_ASYNC));
        for rule in [Rule::Cores, Rule::Weight, Rule::Class] {
            reschedule(rule, nix::unistd::getpid()).unwrap();
        }
        assert!(!mappings().contains("rwx"), "{}", mappings());
        assert!(!mappings().contains("vkmps-code"), "{}", mappings());
    }
}
