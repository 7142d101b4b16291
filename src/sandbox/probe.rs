//! Trying from inside what must be out of reach: the proof that a sandbox holds, for administrators and tests.

use crate::{Reach, Role};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::{execv, getppid, unlink};
use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use vkmps_ipc::attempt::{self, Alarm, Call, Rule};
use vkmps_ipc::memory::memfd_with;

/// Everything to try.
#[derive(Debug)]
pub struct Probes {
    role: Role,
    /// Devices of this machine that are not the role's; a confined process cannot list them any more.
    devices: Vec<PathBuf>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was tried, without blanks.
    pub probe: String,
    /// With what result.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Refused(Errno),
    /// There is no such file here.
    NotThere,
    /// It succeeded.
    Succeeded,
    /// It failed, but for another reason than that it may not be.
    Allowed(Errno),
}

impl Outcome {
    /// Whether the sandbox did its part.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotThere)
    }
}

impl<T> From<Result<T, Errno>> for Outcome {
    fn from(result: Result<T, Errno>) -> Self {
        match result {
            Ok(_) => Self::Succeeded,
            // By capabilities, filters and Landlock; by a filesystem or address families that systemd took away.
            Err(
                errno @ (Errno::EPERM
                | Errno::EACCES
                | Errno::ENOSYS
                | Errno::EROFS
                | Errno::EAFNOSUPPORT),
            ) => Self::Refused(errno),
            Err(Errno::ENOENT) => Self::NotThere,
            Err(errno) => Self::Allowed(errno),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => write!(f, "refused ({errno:?})"),
            Self::NotThere => f.write_str("not there"),
            Self::Succeeded => f.write_str("POSSIBLE"),
            Self::Allowed(errno) => write!(f, "POSSIBLE ({errno:?})"),
        }
    }
}

impl Probes {
    /// Looks around; to be called before the sandbox closes.
    pub fn prepare(role: Role, reach: &Reach) -> Self {
        let mut devices = Vec::new();
        collect_devices(Path::new("/dev"), reach, &mut devices);
        devices.sort();
        Self { role, devices }
    }

    /// Tries everything. The last attempt, [`EXEC`], is to become another program, which ends with status 1: who hears
    /// nothing of it knows that it succeeded.
    pub fn run(&self, mut report: impl FnMut(Finding)) {
        let mut tell = |probe: String, outcome: Outcome| report(Finding { probe, outcome });
        for device in &self.devices {
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let opened = open(device, flags, Mode::empty());
            tell(format!("open:{}", device.display()), opened.into());
        }
        for path in READ.iter().chain(self.more_to_read()) {
            let opened = open(*path, OFlag::O_RDONLY, Mode::empty());
            tell(format!("read:{path}"), opened.into());
        }
        let home = std::env::var("HOME").ok();
        for folder in WRITE.into_iter().chain(home.as_deref()) {
            tell(format!("write:{folder}"), write_in(folder).into());
        }
        for (name, family) in FAMILIES {
            tell(format!("socket:{name}"), socket_of(family).into());
        }
        tell("listen".to_owned(), be_a_server().into());
        if self.role != Role::Daemon {
            tell(
                "socket:unix".to_owned(),
                socket_of(AddressFamily::Unix).into(),
            );
            tell("connect:dbus".to_owned(), reach_bus().into());
        }
        for (name, flag) in NAMESPACES {
            tell(format!("namespace:{name}"), unshare(flag).into());
        }
        // Were it allowed, the kernel would miss the file system of this name.
        let nothing: Option<&str> = None;
        let mounted = mount(nothing, "/", Some("vkmps"), MsFlags::empty(), nothing);
        tell("mount".to_owned(), mounted.into());
        self.try_others(&mut tell);
        self.try_code(&mut tell);
        for (name, call) in CALLS {
            tell(format!("call:{name}"), attempt::call(call).into());
        }
        tell("fork".to_owned(), attempt::fork().into());
        let became = execv(c"/bin/false", &[c"false"]);
        tell(EXEC.to_owned(), became.into());
    }

    /// What only the other role has a reason to read.
    fn more_to_read(&self) -> &'static [&'static str] {
        match self.role {
            Role::Daemon => &["/usr/bin", "/usr/lib", "/dev"],
            Role::Engine | Role::Compiler => &["/etc/passwd", "/etc/vkmps", "/etc/machine-id"],
        }
    }

    /// Other processes: the one that started this one.
    fn try_others(&self, tell: &mut impl FnMut(String, Outcome)) {
        let parent = getppid();
        let attached = ptrace::attach(parent).inspect(|()| _ = ptrace::detach(parent, None));
        tell("parent:trace".to_owned(), attached.into());
        for file in ["mem", "environ", "root"] {
            let path = format!("/proc/{parent}/{file}");
            let opened = open(Path::new(&path), OFlag::O_RDONLY, Mode::empty());
            tell(format!("parent:{file}"), opened.into());
        }
        tell("parent:signal".to_owned(), kill(parent, None).into());
        for (name, way) in ALARMS {
            let set = attempt::alarm(way, std::io::stdin(), parent);
            tell(format!("parent:alarm-{name}"), set.into());
        }
        for (name, rule) in RULES {
            let set = attempt::reschedule(rule, parent);
            tell(format!("parent:schedule-{name}"), set.into());
        }
    }

    /// Code that was not there when the process started, or can still change.
    fn try_code(&self, tell: &mut impl FnMut(String, Outcome)) {
        tell(
            "memory:map-write-execute".to_owned(),
            attempt::map_writable_executable().into(),
        );
        tell(
            "memory:protect-write-execute".to_owned(),
            attempt::make_writable_executable().into(),
        );
        let file = memfd_with("vkmps-code", &[0; 4096]).map_err(|error| error.errno);
        tell(
            "memory:map-shared-execute".to_owned(),
            file.and_then(attempt::map_shared_executable).into(),
        );
        // A driver's compiler does just this.
        if self.role == Role::Daemon {
            tell(
                "memory:protect-execute".to_owned(),
                attempt::make_written_executable().into(),
            );
        }
    }
}

/// Nodes below a folder that are not within reach. A watchdog is left alone: opening one by mistake starts it.
fn collect_devices(folder: &Path, reach: &Reach, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let path = entry.path();
        if kind.is_dir() {
            collect_devices(&path, reach, found);
        }
        let watchdog = entry.file_name().to_string_lossy().starts_with("watchdog");
        let node = kind.is_char_device() || kind.is_block_device();
        if node && !watchdog && !reach.covers(&path) {
            found.push(path);
        }
    }
}

fn write_in(folder: &str) -> Result<(), Errno> {
    let path = Path::new(folder).join(format!(".vkmps-probe-{}", std::process::id()));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    open(&path, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let _ = unlink(&path);
    Ok(())
}

fn socket_of(family: AddressFamily) -> Result<(), Errno> {
    let kind = match family {
        AddressFamily::Netlink | AddressFamily::Packet => SockType::Raw,
        _ => SockType::Stream,
    };
    socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map(drop)
}

/// A socket that others find, of the kind that vkmpsd may make.
fn be_a_server() -> Result<(), Errno> {
    let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    let server = socket(family, SockType::Stream, flags, None)?;
    let name = format!("vkmps-probe-{}", std::process::id());
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&server),
        &UnixAddr::new_abstract(name.as_bytes())?,
    )?;
    listen(&server, Backlog::new(1)?)
}

fn reach_bus() -> Result<(), Errno> {
    let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    let socket = socket(family, SockType::Stream, flags, None)?;
    connect(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &UnixAddr::new(BUS)?,
    )
}

/// The last probe.
pub const EXEC: &str = "exec";
const BUS: &str = "/run/dbus/system_bus_socket";
const READ: [&str; 6] = ["/etc/shadow", "/root", "/home", "/var/log", "/boot", "/"];
const WRITE: [&str; 9] = [
    "/", "/dev/shm", "/etc", "/opt", "/run", "/tmp", "/usr", "/var", "/var/tmp",
];
const FAMILIES: [(&str, AddressFamily); 5] = [
    ("inet", AddressFamily::Inet),
    ("inet6", AddressFamily::Inet6),
    ("netlink", AddressFamily::Netlink),
    ("packet", AddressFamily::Packet),
    ("vsock", AddressFamily::Vsock),
];
const NAMESPACES: [(&str, CloneFlags); 3] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mount", CloneFlags::CLONE_NEWNS),
    ("network", CloneFlags::CLONE_NEWNET),
];
const ALARMS: [(&str, Alarm); 4] = [
    ("owner", Alarm::Owner),
    ("group", Alarm::Group),
    ("switch", Alarm::Switch),
    ("flag", Alarm::Flag),
];
const RULES: [(&str, Rule); 3] = [
    ("cores", Rule::Cores),
    ("weight", Rule::Weight),
    ("class", Rule::Class),
];
const CALLS: [(&str, Call); 6] = [
    ("bpf", Call::Bpf),
    ("io_uring_setup", Call::IoUringSetup),
    ("keyctl", Call::Keyctl),
    ("perf_event_open", Call::PerfEventOpen),
    ("process_vm_readv", Call::ProcessVmReadv),
    ("userfaultfd", Call::Userfaultfd),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_refused_or_is_not_there_is_good() {
        let cases = [
            (Ok(()), "POSSIBLE", false),
            (Err(Errno::EPERM), "refused (EPERM)", true),
            (Err(Errno::EACCES), "refused (EACCES)", true),
            (Err(Errno::ENOENT), "not there", true),
            // The kernel looked at the arguments, or the driver at the call: nobody had refused it.
            (Err(Errno::EINVAL), "POSSIBLE (EINVAL)", false),
            (Err(Errno::ENXIO), "POSSIBLE (ENXIO)", false),
        ];
        for (result, text, good) in cases {
            let outcome = Outcome::from(result);
            assert_eq!(outcome.to_string(), text);
            assert_eq!(outcome.is_good(), good, "{text}");
        }
    }

    #[test]
    fn devices_within_reach_are_not_probed() {
        let reach = Reach::nothing().device("/dev/null").device("/dev/dri");
        let probes = Probes::prepare(Role::Engine, &reach);
        let devices = &probes.devices;
        assert!(devices.contains(&PathBuf::from("/dev/zero")), "{devices:?}");
        assert!(!devices.iter().any(|path| path.starts_with("/dev/dri")));
        assert!(!devices.contains(&PathBuf::from("/dev/null")));
    }
}
