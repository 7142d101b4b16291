//! Which system calls each role may make, group by group with the reason.
//!
//! Calls without a look at their arguments cost next to nothing: the kernel (5.11) remembers them. The others run through
//! the filter each time, so none of them is on the path of a submit.

use crate::Role;
use nix::libc::*;

/// A call and what its arguments must be.
pub(crate) type Call = (c_long, Arguments);

#[derive(Debug, Clone)]
pub(crate) enum Arguments {
    /// Whatever they are.
    Any,
    /// All conditions of one of these.
    OneOf(Vec<Vec<Condition>>),
}

/// On the lower 32 bits of an argument, counted from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition {
    Is(u8, u64),
    IsNot(u8, u64),
    Bits { argument: u8, of: u64, are: u64 },
}

/// All that a role may call.
pub(crate) fn of(role: Role) -> Vec<Call> {
    let (groups, checked): (&[&[c_long]], Vec<Call>) = match role {
        Role::Daemon => (&DAEMON, daemon_checked()),
        Role::Engine | Role::Compiler => (&DRIVER, driver_checked()),
    };
    let plain = groups.iter().copied().flatten();
    let mut calls: Vec<Call> = plain.map(|number| (*number, Arguments::Any)).collect();
    calls.extend(checked);
    calls.extend(own_process());
    calls
}

const DAEMON: [&[c_long]; 7] = [
    MEMORY,
    THREADS,
    TIME,
    DESCRIPTORS,
    SOCKETS,
    LOOKING,
    DAEMON_ONLY,
];

const DRIVER: [&[c_long]; 8] = [
    MEMORY,
    THREADS,
    TIME,
    DESCRIPTORS,
    LOOKING,
    WRITING,
    PLACEMENT,
    TALKING,
];

/// Heaps, arenas and rings. mmap and mprotect are looked at.
const MEMORY: &[c_long] = &[SYS_brk, SYS_madvise, SYS_mremap, SYS_msync, SYS_munmap];

/// Threads, their locks, signals and ends; clone is looked at. clone3 answers that it does not exist.
const THREADS: &[c_long] = &[
    SYS_clone3,
    SYS_exit,
    SYS_exit_group,
    SYS_futex,
    SYS_futex_waitv,
    SYS_get_robust_list,
    SYS_getcpu,
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_membarrier,
    SYS_restart_syscall,
    SYS_rseq,
    SYS_rt_sigaction,
    SYS_rt_sigpending,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_sched_getaffinity,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_sched_yield,
    SYS_set_robust_list,
    SYS_set_tid_address,
    SYS_sigaltstack,
];

/// Clocks, and randomness for hash tables.
const TIME: &[c_long] = &[
    SYS_clock_getres,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_getrandom,
    SYS_gettimeofday,
    SYS_nanosleep,
    SYS_timerfd_create,
    SYS_timerfd_gettime,
    SYS_timerfd_settime,
];

/// What is done with descriptors that are open, and memory made one; fcntl is looked at.
const DESCRIPTORS: &[c_long] = &[
    SYS_close,
    SYS_close_range,
    SYS_dup,
    SYS_dup3,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_fallocate,
    SYS_fchmod,
    SYS_flock,
    SYS_fstat,
    SYS_fstatfs,
    SYS_ftruncate,
    SYS_lseek,
    SYS_memfd_create,
    SYS_pipe2,
    SYS_ppoll,
    SYS_pread64,
    SYS_preadv,
    SYS_pselect6,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_read,
    SYS_readv,
    SYS_write,
    SYS_writev,
    #[cfg(target_arch = "x86_64")]
    SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    SYS_poll,
    #[cfg(target_arch = "x86_64")]
    SYS_select,
];

/// Looking at what Landlock leaves to look at, and at oneself. openat is looked at in vkmpsd.
const LOOKING: &[c_long] = &[
    SYS_faccessat,
    SYS_faccessat2,
    SYS_getcwd,
    SYS_getdents64,
    SYS_getegid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getgroups,
    SYS_getresgid,
    SYS_getresuid,
    SYS_getrlimit,
    SYS_getrusage,
    SYS_getuid,
    SYS_newfstatat,
    SYS_readlinkat,
    SYS_statfs,
    SYS_statx,
    SYS_sysinfo,
    SYS_uname,
    #[cfg(target_arch = "x86_64")]
    SYS_access,
    #[cfg(target_arch = "x86_64")]
    SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    SYS_stat,
];

/// Clients, D-Bus, the journal and systemd; socket is looked at.
const SOCKETS: &[c_long] = &[
    SYS_accept4,
    SYS_connect,
    SYS_getpeername,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shutdown,
];

/// Processes that vkmpsd ends, and the files of a standalone daemon that go with it.
const DAEMON_ONLY: &[c_long] = &[
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    SYS_unlink,
];

/// The control socket, which carries descriptors.
const TALKING: &[c_long] = &[
    SYS_getsockopt,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_shutdown,
];

/// The driver's cache, within what Landlock leaves, and files that drivers open late: a device per VkDevice, libraries
/// for the first compilation.
const WRITING: &[c_long] = &[
    SYS_fdatasync,
    SYS_fsync,
    SYS_mkdirat,
    SYS_openat,
    SYS_renameat2,
    SYS_truncate,
    SYS_unlinkat,
    SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    SYS_open,
    #[cfg(target_arch = "x86_64")]
    SYS_rename,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    SYS_renameat,
    #[cfg(target_arch = "x86_64")]
    SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    SYS_unlink,
];

/// Where memory and threads go: pinned pages, NUMA nodes, cores and weights of driver threads, which only
/// themselves can change.
const PLACEMENT: &[c_long] = &[
    SYS_get_mempolicy,
    SYS_getpriority,
    SYS_mbind,
    SYS_mincore,
    SYS_mlock,
    SYS_mlock2,
    SYS_munlock,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    SYS_set_mempolicy,
];

/// vkmpsd loads no code and makes none: no memory becomes executable. It opens files to read only, and sockets of this
/// machine only.
fn daemon_checked() -> Vec<Call> {
    let not_executable = || one(bits(2, PROT_EXEC, 0));
    let local = || one(Condition::Is(0, unsigned(AF_UNIX)));
    vec![
        (SYS_mmap, not_executable()),
        (SYS_mprotect, not_executable()),
        (SYS_socket, local()),
        (SYS_socketpair, local()),
        (SYS_openat, one(bits(2, O_ACCMODE | O_CREAT | O_TRUNC, 0))),
        // How std makes a socket non-blocking, and how loggers ask whether they write to a terminal.
        (SYS_ioctl, any_of(1, &[FIONBIO, FIONREAD, FIOCLEX, TCGETS])),
    ]
}

/// A driver's compiler makes code: memory is first written, then executable, never both; shared memory never is. Devices
/// are controlled, terminals not: who can type into the administrator's has left the sandbox. Nor does a descriptor send
/// signals: its owner may be any process of this user, and SIGIO ends vkmpsd.
fn driver_checked() -> Vec<Call> {
    let data = || vec![bits(2, PROT_EXEC, 0)];
    let code = || bits(2, PROT_EXEC | PROT_WRITE, PROT_EXEC);
    let private = bits(3, MAP_SHARED, 0);
    vec![
        (
            SYS_mmap,
            Arguments::OneOf(vec![data(), vec![code(), private]]),
        ),
        (SYS_mprotect, Arguments::OneOf(vec![data(), vec![code()]])),
        (
            SYS_ioctl,
            Arguments::OneOf(vec![
                [TIOCSTI, TIOCLINUX, TIOCSETD, FIOSETOWN, SIOCSPGRP, FIOASYNC]
                    .map(|request| Condition::IsNot(1, request))
                    .into(),
            ]),
        ),
        // The calling thread only: whose the others are that a number may name, a filter cannot tell. Mesa and glibc name
        // even the calling one by its number, and go on when they are refused.
        (SYS_sched_setaffinity, one(Condition::Is(0, 0))),
        (SYS_sched_setscheduler, one(Condition::Is(0, 0))),
        (
            SYS_setpriority,
            Arguments::OneOf(vec![vec![
                Condition::Is(0, u64::from(PRIO_PROCESS)),
                Condition::Is(1, 0),
            ]]),
        ),
        (
            SYS_kcmp,
            Arguments::OneOf(vec![vec![
                Condition::Is(0, own_pid()),
                Condition::Is(1, own_pid()),
            ]]),
        ),
    ]
}

/// What would reach other processes with other arguments: more threads but no more processes or namespaces, signals to
/// oneself (abort), names of threads and mappings, the own limits, locks and flags of descriptors.
fn own_process() -> Vec<Call> {
    let own = own_pid();
    let namespaces = CLONE_NEWCGROUP
        | CLONE_NEWIPC
        | CLONE_NEWNET
        | CLONE_NEWNS
        | CLONE_NEWPID
        | CLONE_NEWUSER
        | CLONE_NEWUTS
        | CLONE_PTRACE;
    vec![
        (
            SYS_clone,
            one(bits(
                0,
                CLONE_THREAD | CLONE_VM | namespaces,
                CLONE_THREAD | CLONE_VM,
            )),
        ),
        (SYS_kill, one(Condition::Is(0, own))),
        (SYS_tgkill, one(Condition::Is(0, own))),
        (SYS_prlimit64, any_of(0, &[0, own])),
        (
            SYS_prctl,
            any_of(0, &[PR_SET_NAME, PR_GET_NAME, PR_SET_VMA].map(unsigned)),
        ),
        (SYS_fcntl, fcntl()),
    ]
}

/// A descriptor of a terminal has an owner from the start, its foreground: no flag may have it signalled.
fn fcntl() -> Arguments {
    let mut alternatives: Vec<_> = FCNTL
        .iter()
        .map(|command| vec![Condition::Is(1, unsigned(*command))])
        .collect();
    alternatives.push(vec![
        Condition::Is(1, unsigned(F_SETFL)),
        bits(2, O_ASYNC, 0),
    ]);
    Arguments::OneOf(alternatives)
}

/// Not among them: who gets a signal when something happens to a descriptor.
const FCNTL: [c_int; 13] = [
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_SETFD,
    F_GETFL,
    F_GETLK,
    F_SETLK,
    F_SETLKW,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_ADD_SEALS,
    F_GET_SEALS,
];

/// The same on all architectures that there are filters for.
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

fn one(condition: Condition) -> Arguments {
    Arguments::OneOf(vec![vec![condition]])
}

fn any_of(argument: u8, values: &[u64]) -> Arguments {
    let alternatives = values
        .iter()
        .map(|value| vec![Condition::Is(argument, *value)]);
    Arguments::OneOf(alternatives.collect())
}

fn bits(argument: u8, of: c_int, are: c_int) -> Condition {
    Condition::Bits {
        argument,
        of: unsigned(of),
        are: unsigned(are),
    }
}

/// As the lower 32 bits of an argument.
fn unsigned(value: c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

fn own_pid() -> u64 {
    u64::from(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(role: Role, number: c_long) -> bool {
        of(role).iter().any(|(allowed, _)| *allowed == number)
    }

    #[test]
    fn no_role_may_make_processes_trace_them_or_change_the_system() {
        let never = [
            SYS_execve,
            SYS_execveat,
            SYS_ptrace,
            SYS_process_vm_readv,
            SYS_process_vm_writev,
            SYS_mount,
            SYS_move_mount,
            SYS_pivot_root,
            SYS_chroot,
            SYS_unshare,
            SYS_setns,
            SYS_bpf,
            SYS_perf_event_open,
            SYS_keyctl,
            SYS_add_key,
            SYS_io_uring_setup,
            SYS_userfaultfd,
            SYS_mknodat,
            SYS_personality,
            SYS_shmat,
            SYS_pkey_mprotect,
            SYS_bind,
            SYS_listen,
        ];
        for role in [Role::Daemon, Role::Engine, Role::Compiler] {
            for number in never {
                assert!(!allows(role, number), "{role:?} may call {number}");
            }
        }
    }

    #[test]
    fn a_driver_has_no_way_to_a_socket_and_a_daemon_none_to_write_files() {
        for number in [SYS_socket, SYS_socketpair, SYS_connect, SYS_accept4] {
            assert!(!allows(Role::Engine, number), "{number}");
        }
        for number in [SYS_renameat2, SYS_mkdirat, SYS_truncate, SYS_linkat] {
            assert!(!allows(Role::Daemon, number), "{number}");
        }
    }

    #[test]
    fn no_call_is_listed_twice_with_different_arguments() {
        for role in [Role::Daemon, Role::Engine] {
            let calls = of(role);
            for (number, arguments) in &calls {
                if matches!(arguments, Arguments::OneOf(_)) {
                    let times = calls.iter().filter(|(other, _)| other == number).count();
                    assert_eq!(times, 1, "{role:?} {number}");
                }
            }
        }
    }
}
