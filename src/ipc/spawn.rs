//! The spawner: a process forked off while the daemon is small and single-threaded, which starts engines and compilers
//! on request and tells how they ended. It lets the daemon close its own sandbox (no exec) before it serves anybody.
//! What it executes is fixed when it is forked: a daemon that somebody took over can ask for no more than one of the two.
//!
//! One packet each way per fact, over a socket pair. When the daemon's end closes, the spawner kills its children and
//! leaves.

use crate::SystemError;
use crate::socket::{Packet, Seqpacket, message_buffer};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use vkmps_protocol::{decode, encode};

/// The daemon's end.
#[derive(Debug)]
pub struct Spawner {
    socket: Seqpacket,
}

/// The only programs that the spawner executes.
#[derive(Debug, Clone)]
pub struct Commands {
    /// Runs the driver.
    pub engine: Command,
    /// Compiles modules.
    pub compiler: Command,
}

/// How to start a program. Its standard input is the descriptor that goes with the request, its standard output nothing,
/// its standard error ours.
#[derive(Debug, Clone)]
pub struct Command {
    /// Executable.
    pub program: PathBuf,
    /// Arguments after the name.
    pub arguments: Vec<String>,
    /// Added to the spawner's environment.
    pub environment: Vec<(String, String)>,
}

/// Which of the [`Commands`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// [`Commands::engine`].
    Engine,
    /// [`Commands::compiler`].
    Compiler,
}

/// What the spawner tells.
#[derive(Debug)]
pub enum Report {
    /// A request succeeded.
    Started {
        /// Of the request.
        id: u64,
        /// The process.
        pid: i32,
        /// Its handle: readable once it has ended, and what [`kill`] takes.
        pidfd: OwnedFd,
    },
    /// A request failed.
    NotStarted {
        /// Of the request.
        id: u64,
        /// Why.
        text: String,
    },
    /// A process ended.
    Exited {
        /// Of the request that started it.
        id: u64,
        /// How.
        status: ExitStatus,
    },
}

impl Spawner {
    /// Forks the spawner of these programs. To be called once, before the process has threads.
    ///
    /// # Errors
    /// Of socketpair and fork; `EBUSY` when there are threads already.
    pub fn fork(commands: &Commands) -> Result<Self, SystemError> {
        let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
        if threads.is_ok_and(|count| count != 1) {
            return Err(SystemError {
                call: "fork with several threads",
                errno: Errno::EBUSY,
            });
        }
        let (ours, theirs) = Seqpacket::pair()?;
        // SAFETY: the process has one thread (checked above), so the child may do what it likes: no lock is held by a
        // thread that does not exist there.
        let forked = unsafe { nix::unistd::fork() };
        match forked.map_err(SystemError::of("fork"))? {
            nix::unistd::ForkResult::Parent { .. } => {
                ours.set_nonblocking(true)?;
                Ok(Self { socket: ours })
            }
            nix::unistd::ForkResult::Child => {
                // Neither a return nor a panic may lead back into a second daemon.
                let _ = std::panic::catch_unwind(|| serve(&theirs, commands));
                // SAFETY: ends the process at once; nothing of the daemon's is flushed or unlinked twice.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Asks for a process. `id` comes back in the reports about it.
    pub fn request(
        &self,
        id: u64,
        program: Program,
        stdin: BorrowedFd<'_>,
    ) -> Result<(), SystemError> {
        let number = match program {
            Program::Engine => ENGINE,
            Program::Compiler => COMPILER,
        };
        let request: Request = (id, number);
        let bytes = encode(&request).map_err(|_| SystemError {
            call: "encoding a spawn request",
            errno: Errno::EMSGSIZE,
        })?;
        self.socket.send(&bytes, &[stdin])
    }

    /// The next report, without waiting; `EAGAIN` when there is none, `EPIPE` when the spawner is gone.
    pub fn report(&self) -> Result<Report, SystemError> {
        let mut buffer = message_buffer();
        let gone = SystemError {
            call: "hearing of the spawner",
            errno: Errno::EPIPE,
        };
        let packet = self.socket.receive(&mut *buffer)?.ok_or(gone)?;
        let (kind, id, number, text): Answer = decode(&buffer[..packet.bytes]).map_err(|_| gone)?;
        match (kind, packet.descriptors.into_iter().next()) {
            (STARTED, Some(pidfd)) => Ok(Report::Started {
                id,
                pid: number,
                pidfd,
            }),
            (NOT_STARTED, None) => Ok(Report::NotStarted { id, text }),
            (EXITED, None) => Ok(Report::Exited {
                id,
                status: ExitStatus::from_raw(number),
            }),
            _ => Err(gone),
        }
    }
}

impl AsFd for Spawner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Spawner {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// Kills a process by its handle; one that has ended already is no error.
pub fn kill(pidfd: BorrowedFd<'_>) {
    // SAFETY: the descriptor is a valid one for the call; a null siginfo asks for what kill(2) sends.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
}

impl Commands {
    /// By its number in a [`Request`].
    fn numbered(&self, number: u8) -> Option<&Command> {
        match number {
            ENGINE => Some(&self.engine),
            COMPILER => Some(&self.compiler),
            _ => None,
        }
    }
}

/// (id, number of a program); one descriptor.
type Request = (u64, u8);
/// (kind, id, pid or wait status, text); a pidfd with [`STARTED`].
type Answer = (u8, u64, i32, String);

const ENGINE: u8 = 1;
const COMPILER: u8 = 2;

const STARTED: u8 = 1;
const NOT_STARTED: u8 = 2;
const EXITED: u8 = 3;
/// Belongs to the daemon alone.
const PRIVATE_ENVIRONMENT: [&str; 6] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// A process of ours.
struct Running {
    id: u64,
    child: Child,
    pidfd: OwnedFd,
}

/// The spawner's life.
fn serve(socket: &Seqpacket, commands: &Commands) {
    let _ = nix::sys::prctl::set_name(c"vkmps-spawner");
    close_all_but(socket.as_raw_fd());
    // A Ctrl-C and a `systemctl stop` are the daemon's to act on: it drains, then closes its end. Our children start
    // with no signal blocked (std resets the mask) and outside the terminal's process group.
    let _ = nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0));
    let mut ignored = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .for_each(|signal| ignored.add(signal));
    let _ = ignored.thread_block();

    let mut running: Vec<Running> = Vec::new();
    loop {
        let (asked, ended) = wait(socket, &running);
        for index in ended.into_iter().rev() {
            let mut process = running.swap_remove(index);
            let status = process.child.wait().map_or(0, ExitStatus::into_raw);
            answer(socket, &(EXITED, process.id, status, String::new()), None);
        }
        if asked && !take_request(socket, commands, &mut running) {
            break;
        }
    }
    for mut process in running {
        let _ = process.child.kill();
        let _ = process.child.wait();
    }
}

/// Sleeps until there is a request, or processes (by index, ascending) have ended.
fn wait(socket: &Seqpacket, running: &[Running]) -> (bool, Vec<usize>) {
    let mut set = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    set.extend(
        running
            .iter()
            .map(|process| PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN)),
    );
    if poll(&mut set, PollTimeout::NONE).is_err() {
        return (false, Vec::new());
    }
    let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    let ended = (0..running.len())
        .filter(|index| ready(&set[index + 1]))
        .collect();
    (ready(&set[0]), ended)
}

/// Starts what is asked for. False when the daemon is gone, or asks for what it never would.
fn take_request(socket: &Seqpacket, commands: &Commands, running: &mut Vec<Running>) -> bool {
    let mut buffer = message_buffer();
    let Ok(Some(Packet {
        bytes, descriptors, ..
    })) = socket.receive(&mut *buffer)
    else {
        return false;
    };
    let Ok((id, number)) = decode::<Request>(&buffer[..bytes]) else {
        return false;
    };
    let (Some(command), Some(stdin)) = (commands.numbered(number), descriptors.into_iter().next())
    else {
        return false;
    };
    match start(id, command, stdin) {
        Ok(process) => {
            let pid = i32::try_from(process.child.id()).unwrap_or(0);
            answer(
                socket,
                &(STARTED, id, pid, String::new()),
                Some(process.pidfd.as_fd()),
            );
            running.push(process);
        }
        Err(error) => {
            let text = format!("{} cannot be started: {error}", command.program.display());
            answer(socket, &(NOT_STARTED, id, 0, text), None);
        }
    }
    true
}

fn start(id: u64, command: &Command, stdin: OwnedFd) -> std::io::Result<Running> {
    let mut process = std::process::Command::new(&command.program);
    process
        .args(&command.arguments)
        .envs(
            command
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null());
    for name in PRIVATE_ENVIRONMENT {
        process.env_remove(name);
    }
    let mut child = process.spawn()?;
    match pidfd_of(&child) {
        Ok(pidfd) => Ok(Running { id, child, pidfd }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn pidfd_of(child: &Child) -> std::io::Result<OwnedFd> {
    // SAFETY: takes two integers. The pid is that of a child not waited for yet, so nobody else can have it.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    match i32::try_from(fd) {
        // SAFETY: pidfd_open returned a new descriptor (close-on-exec) that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn answer(socket: &Seqpacket, answer: &Answer, descriptor: Option<BorrowedFd<'_>>) {
    // A daemon that is gone shows at the next request; a text too long for a packet cannot come from `io::Error`.
    if let Ok(bytes) = encode(answer) {
        let _ = socket.send(&bytes, descriptor.as_slice());
    }
}

/// Closes everything above standard error but one: sockets that systemd passed, the daemon's log.
fn close_all_but(kept: i32) {
    let kept = u32::try_from(kept).unwrap_or(3).max(3);
    if kept > 3 {
        // SAFETY: this is a fresh fork that never returns to code which owns those descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, 3, kept - 1, 0) };
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Commands {
        let command = |program: &str| Command {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        Commands {
            engine: command("/bin/cat"),
            compiler: command("/nonexistent"),
        }
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        let error = Spawner::fork(&commands()).unwrap_err();
        assert_eq!(error.errno, Errno::EBUSY);
    }

    #[test]
    fn a_process_is_started_killed_and_waited_for() {
        let (ours, theirs) = Seqpacket::pair().unwrap();
        // `cat` copies its standard input, our socket, until that ends.
        let mut process = start(7, &commands().engine, theirs.into()).unwrap();
        let (idle, _keep) = Seqpacket::pair().unwrap();
        kill(process.pidfd.as_fd());
        let (asked, ended) = wait(&idle, std::slice::from_ref(&process));
        assert!(!asked && ended == [0]);
        assert_eq!(process.child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(ours.hung_up());
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named() {
        let (daemon, spawner) = Seqpacket::pair().unwrap();
        let daemon = Spawner { socket: daemon };
        let (stdin, _keep) = Seqpacket::pair().unwrap();
        daemon.request(7, Program::Compiler, stdin.as_fd()).unwrap();
        let mut running = Vec::new();
        assert!(take_request(&spawner, &commands(), &mut running));
        match daemon.report().unwrap() {
            Report::NotStarted { id: 7, text } => {
                assert!(
                    text.starts_with("/nonexistent cannot be started: "),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(running.len(), 0);
    }

    #[test]
    fn nothing_but_the_two_programs_can_be_asked_for() {
        let (stdin, _keep) = Seqpacket::pair().unwrap();
        let shell = (7_u64, ENGINE, b"/bin/sh".to_vec());
        for request in [
            encode(&(7_u64, 0_u8)).unwrap(),
            encode(&(7_u64, 3_u8)).unwrap(),
            encode(&shell).unwrap(),
            Vec::from(*b"/bin/sh"),
        ] {
            let (daemon, spawner) = Seqpacket::pair().unwrap();
            daemon.send(&request, &[stdin.as_fd()]).unwrap();
            let mut running = Vec::new();
            let goes_on = take_request(&spawner, &commands(), &mut running);
            assert!(!goes_on && running.is_empty(), "{request:?}");
        }
    }
}
