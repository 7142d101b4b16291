//! A daemon without systemd: its own socket, guarded by a lock file beside it.
//!
//! The socket belongs to the daemon's user and group and is open to both (mode 0660): who may use the device is decided
//! by membership in the group that the daemon runs as.

use crate::config::DEFAULT_SOCKET;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vkmps_ipc::SystemError;
use vkmps_ipc::socket::Seqpacket;

/// The files of a standalone daemon. Dropping unlinks them.
#[derive(Debug)]
pub(crate) struct Standalone {
    socket: PathBuf,
    lock: PathBuf,
    /// Locked as long as the daemon lives; holds its pid.
    file: Flock<File>,
}

/// A standalone daemon cannot have its socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandaloneError {
    /// Another daemon has it.
    #[error("another vkmpsd (pid {pid}) serves {}", socket.display())]
    AlreadyRunning {
        /// From its lock file.
        pid: String,
        /// The socket.
        socket: PathBuf,
    },
    /// Something else is there, and is left alone.
    #[error("{} is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// A file cannot be made.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: SystemError,
    },
}

impl Standalone {
    /// Locks the place, removes what a dead daemon left there, and listens.
    pub(crate) fn claim(socket: &Path) -> Result<(Self, Seqpacket), StandaloneError> {
        if let (true, Some(parent)) = (socket == Path::new(DEFAULT_SOCKET), socket.parent()) {
            std::fs::create_dir_all(parent).map_err(at(parent))?;
        }
        let mut name = OsString::from(socket);
        name.push(".lock");
        let lock = PathBuf::from(name);
        let file = take_lock(&lock, socket)?;
        let claimed = Self {
            socket: socket.to_owned(),
            lock,
            file,
        };
        match std::fs::symlink_metadata(socket) {
            Ok(found) if found.file_type().is_socket() => {
                std::fs::remove_file(socket).map_err(at(socket))?;
            }
            Ok(_) => return Err(StandaloneError::NotASocket(socket.to_owned())),
            Err(_) => {}
        }
        let before = umask(Mode::from_bits_truncate(0o117));
        let listener = Seqpacket::bind(socket);
        umask(before);
        let path = || socket.to_owned();
        let listener = listener.map_err(|source| StandaloneError::Socket {
            path: path(),
            source,
        })?;
        Ok((claimed, listener))
    }

    /// Where its files are; empty for the current one.
    pub(crate) fn folder(&self) -> &Path {
        self.socket.parent().unwrap_or(Path::new("/"))
    }

    /// What a crash must take along.
    pub(crate) fn files(&self) -> [&Path; 2] {
        [&self.socket, &self.lock]
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // Somebody may have removed our files, and another daemon made its own.
        if !is_same_file(&self.file, &self.lock).unwrap_or(false) {
            return;
        }
        // The lock is still held, so a socket at the path is ours; anything else we left alone.
        let found = std::fs::symlink_metadata(&self.socket);
        if found.is_ok_and(|found| found.file_type().is_socket()) {
            let _ = std::fs::remove_file(&self.socket);
        }
        let _ = std::fs::remove_file(&self.lock);
    }
}

/// The locked lock file, with our pid in it.
fn take_lock(lock: &Path, socket: &Path) -> Result<Flock<File>, StandaloneError> {
    loop {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644);
        let file = file.open(lock).map_err(at(lock))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim().to_owned();
                return Err(StandaloneError::AlreadyRunning {
                    pid,
                    socket: socket.to_owned(),
                });
            }
            Err((_, errno)) => return Err(at(lock)(errno.into())),
        };
        // A daemon that was just leaving may have unlinked the file that we opened.
        if is_same_file(&file, lock).unwrap_or(false) {
            file.set_len(0).map_err(at(lock))?;
            file.rewind().map_err(at(lock))?;
            writeln!(file, "{}", std::process::id()).map_err(at(lock))?;
            return Ok(file);
        }
    }
}

fn is_same_file(file: &File, path: &Path) -> std::io::Result<bool> {
    let (ours, there) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> StandaloneError {
    move |source| StandaloneError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_duplicate_is_refused_and_a_stale_socket_replaced() {
        let directory = std::env::temp_dir().join(format!("vkmps-lock-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        let (first, listener) = Standalone::claim(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let second = Standalone::claim(&path).unwrap_err();
        let own = std::process::id().to_string();
        assert!(matches!(second, StandaloneError::AlreadyRunning { pid, .. } if pid == own));
        // A daemon that was killed leaves both files, and no lock.
        let stale = directory.join("stale");
        drop(Seqpacket::bind(&stale).unwrap());
        std::fs::write(directory.join("stale.lock"), "1").unwrap();
        drop(Standalone::claim(&stale).unwrap());
        drop((first, listener));
        let other = directory.join("file");
        std::fs::write(&other, "precious").unwrap();
        assert!(matches!(
            Standalone::claim(&other),
            Err(StandaloneError::NotASocket(_))
        ));
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
