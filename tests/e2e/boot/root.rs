//! The first process of a machine: builds its root and becomes systemd.

use super::stages::{Plan, replaced};
use super::world::mounted;
use super::{BootError, at, failed, overlay};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{pivot_root, sethostname};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// Comes back only to say what went wrong.
pub(super) fn become_init(plan: &Plan) -> Result<Infallible, BootError> {
    umask(Mode::from_bits_truncate(0o022));
    let root = overlay::mount(&plan.folder, &plan.layers)?;
    if let [_this_machine] = &plan.layers[..] {
        forget_this_machine(&root)?;
    }
    kernel_files(&root)?;
    devices(&root, &plan.folder)?;
    for (folder, mode) in [("run", "0755"), ("tmp", "1777"), ("dev/shm", "1777")] {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        memory(&root.join(folder), flags, &format!("mode={mode}"))?;
    }
    // Not noexec: clients are started from there.
    let staging = root.join(STAGING.trim_start_matches('/'));
    folder(&staging)?;
    bind(&plan.staging, &staging)?;
    read_only(&staging, MsFlags::empty())?;
    sethostname("vkmps-e2e").map_err(failed("sethostname"))?;
    enter(&root)?;
    let path = Path::new("/dev/console");
    let console = || File::options().append(true).open(path).map_err(at(path));
    let mut systemd = Command::new(SYSTEMD);
    systemd
        .args([
            "--system",
            "systemd.unified_cgroup_hierarchy=1",
            "systemd.show_status=1",
        ])
        .args([
            "systemd.log_target=journal-or-kmsg",
            "systemd.unit=multi-user.target",
        ])
        .env_clear()
        .env("container", "vkmps-e2e")
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(console()?)
        .stderr(console()?);
    Err(replaced(&mut systemd))
}

/// Removes what belongs to the machine underneath: its services, disks and journal.
fn forget_this_machine(root: &Path) -> Result<(), BootError> {
    for name in ["etc/systemd/system", "var/log/journal"] {
        let path = root.join(name);
        let _ = fs::remove_dir_all(&path);
        folder(&path)?;
    }
    // systemd makes units from the links of System V.
    for level in 0..=6 {
        let _ = fs::remove_dir_all(root.join(format!("etc/rc{level}.d")));
    }
    // Disks; what images for containers have so that no package starts anything, and leaves its pages out.
    for name in ["etc/fstab", "etc/crypttab", "usr/sbin/policy-rc.d"] {
        let _ = fs::remove_file(root.join(name));
    }
    let _ = fs::remove_dir_all(root.join("etc/dpkg/dpkg.cfg.d"));
    let mut id = [0; 16];
    let random = Path::new("/dev/urandom");
    File::open(random)
        .and_then(|mut file| file.read_exact(&mut id))
        .map_err(at(random))?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = root.join("etc/machine-id");
    fs::write(&path, id + "\n").map_err(at(&path))
}

/// /proc and /sys, in which the machine must not write to the kernel that it shares.
fn kernel_files(root: &Path) -> Result<(), BootError> {
    let (proc, sys) = (root.join("proc"), root.join("sys"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    folder(&proc)?;
    mounted(Some("proc"), &proc, Some("proc"), flags, None)?;
    // Else its systemd-sysctl and systemd-binfmt would set the kernel of this machine.
    let settings = proc.join("sys");
    bind(&settings, &settings)?;
    read_only(&settings, flags)?;
    let trigger = proc.join("sysrq-trigger");
    if trigger.exists() {
        bind(Path::new("/dev/null"), &trigger)?;
    }
    folder(&sys)?;
    mounted(
        Some("sysfs"),
        &sys,
        Some("sysfs"),
        flags | MsFlags::MS_RDONLY,
        None,
    )
}

/// A /dev with no device of this machine.
fn devices(root: &Path, machine: &Path) -> Result<(), BootError> {
    let dev = root.join("dev");
    memory(&dev, MsFlags::MS_NOSUID, "mode=0755,size=4m")?;
    for name in ["pts", "shm", "mqueue"] {
        folder(&dev.join(name))?;
    }
    umask(Mode::empty());
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ] {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&dev.join(name), SFlag::S_IFCHR, mode, makedev(major, minor))
            .map_err(failed("mknod"))?;
    }
    umask(Mode::from_bits_truncate(0o022));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = "newinstance,ptmxmode=0666,mode=620,gid=5";
    mounted(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        flags,
        Some(options),
    )?;
    for (target, name) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        let link = dev.join(name);
        symlink(target, &link).map_err(at(&link))?;
    }
    let console = dev.join("console");
    File::create(&console).map_err(at(&console))?;
    bind(&machine.join(CONSOLE), &console)
}

/// Makes the folder the root and forgets the old one.
fn enter(root: &Path) -> Result<(), BootError> {
    folder(&root.join("mnt"))?;
    std::env::set_current_dir(root).map_err(at(root))?;
    pivot_root(".", "mnt").map_err(failed("pivot_root"))?;
    umount2("/mnt", MntFlags::MNT_DETACH).map_err(failed("umount2"))?;
    std::env::set_current_dir("/").map_err(at(Path::new("/")))
}

fn memory(target: &Path, flags: MsFlags, options: &str) -> Result<(), BootError> {
    folder(target)?;
    mounted(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
}

fn bind(source: &Path, target: &Path) -> Result<(), BootError> {
    let source = source.to_string_lossy();
    mounted(Some(&source), target, None, MsFlags::MS_BIND, None)
}

fn read_only(target: &Path, flags: MsFlags) -> Result<(), BootError> {
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mounted(None, target, None, flags, None)
}

fn folder(path: &Path) -> Result<(), BootError> {
    fs::create_dir_all(path).map_err(at(path))
}

/// Where the files handed in lie in the machine.
pub(crate) const STAGING: &str = "/run/vkmps-e2e";
/// The file in a machine's folder that takes what it says on its console.
pub(super) const CONSOLE: &str = "console";
/// The manager.
pub(super) const SYSTEMD: &str = "/lib/systemd/systemd";
/// Where programs are.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
