//! What all machines of a run stand on: a file system in memory, this machine's root, the files handed in.

use super::{BootError, at, cgroup, failed, overlay};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use vkmps_tests::binaries::tool;

/// A folder in a mount namespace of this process alone, so that whatever is mounted there goes with the process.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
    machines: AtomicUsize,
}

impl World {
    /// Makes it, or says why this system cannot.
    ///
    /// This thread, and all that it starts from now on, are in a mount namespace of their own.
    pub(crate) fn new() -> Result<Self, BootError> {
        able()?;
        remove_orphans();
        let folder = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(&folder).map_err(at(&folder))?;
        let world = Self {
            folder,
            machines: AtomicUsize::new(0),
        };
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| {
            BootError::Unable(format!("no namespaces of mounts may be made: {errno}"))
        })?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mounted(None, Path::new("/"), None, private, None)?;
        // Not on disk: the upper layer of an overlay may not lie in the tree of its lower one.
        let flags = MsFlags::MS_NOATIME;
        mounted(
            Some("tmpfs"),
            &world.folder,
            Some("tmpfs"),
            flags,
            Some("mode=0755"),
        )?;
        for folder in [world.host(), world.staging()] {
            fs::create_dir(&folder).map_err(at(&folder))?;
        }
        // Without what is mounted below it.
        mounted(Some("/"), &world.host(), None, MsFlags::MS_BIND, None)?;
        world.try_overlay()?;
        Ok(world)
    }

    /// Where all of it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The root of this machine.
    pub(crate) fn host(&self) -> PathBuf {
        self.folder.join("host")
    }

    /// What every machine sees, read-only, at [`super::root::STAGING`].
    pub(crate) fn staging(&self) -> PathBuf {
        self.folder.join("staging")
    }

    /// Mounts one overlay in vain: not every kernel has them, and not every file system may be their lower layer.
    fn try_overlay(&self) -> Result<(), BootError> {
        let (_, folder) = self.room()?;
        let tried = overlay::mount(&folder, &[self.host()]);
        let merged = tried.map_err(|error| match error {
            BootError::Mount { source, .. } => {
                BootError::Unable(format!("no overlay of / can be mounted: {source}"))
            }
            other => other,
        })?;
        umount2(&merged, MntFlags::MNT_DETACH).map_err(failed("umount2"))
    }

    /// Copies a file there.
    pub(crate) fn hand_in(&self, file: &Path, name: &str) -> Result<(), BootError> {
        let to = self.staging().join(name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        fs::copy(file, &to).map_err(at(file))?;
        let mode = fs::metadata(file).map_err(at(file))?.permissions().mode();
        // The users of the machine are others to its owner.
        let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).map_err(at(&to))
    }

    /// A folder for one more machine, with the machine's number.
    pub(super) fn room(&self) -> Result<(usize, PathBuf), BootError> {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(number.to_string());
        fs::create_dir(&folder).map_err(at(&folder))?;
        Ok((number, folder))
    }

    /// Ends all machines of the world in this folder and leaves nothing, also in the middle of everything.
    pub(crate) fn clear(folder: &Path) {
        cgroup::remove_all_of(std::process::id());
        let _ = umount2(folder, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(folder);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        Self::clear(&self.folder);
    }
}

/// Removes what runs that were killed left behind: control groups, and folders that are empty without what was mounted.
fn remove_orphans() {
    cgroup::remove_orphans();
    let entries = fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if of.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Mounts, with the place in the error.
pub(super) fn mounted(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), BootError> {
    mount(source, target, kind, flags, data).map_err(|source| BootError::Mount {
        path: target.to_owned(),
        source,
    })
}

/// Says what this system lacks.
fn able() -> Result<(), BootError> {
    let unable = |what: &str| Err(BootError::Unable(what.to_owned()));
    if !geteuid().is_root() {
        return unable("only root can make namespaces and mount overlays");
    }
    for program in [
        "unshare", "nsenter", "setpriv", "dpkg", "dpkg-deb", "busctl",
    ] {
        if tool(program).is_none() {
            return unable(&format!("{program} is not installed"));
        }
    }
    for (file, package) in [
        (super::root::SYSTEMD, "systemd"),
        ("/usr/bin/dbus-daemon", "dbus"),
        ("/usr/lib/polkit-1/polkitd", "polkitd"),
    ] {
        if !Path::new(file).exists() {
            return unable(&format!("the package {package} is not installed"));
        }
    }
    Ok(())
}

const PREFIX: &str = "vkmps-e2e-";
