//! The token that all must show who connect.

use super::files::ConfigError;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vkmps_protocol::token::{MAX_PASS_BYTES, Pass};

/// A token is none, or too many can read it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {text}", path.display())]
pub(crate) struct BadToken {
    path: PathBuf,
    /// What is wrong, and what is allowed.
    text: String,
}

/// What a file holds, without the end of its line. It must lie in the folder of the configuration, the one place that the
/// daemon can read when it is told to reload, and be nobody's who is not to know it.
pub(super) fn read(path: &Path, folder: &Path) -> Result<Pass, ConfigError> {
    let bad = |text: String| {
        ConfigError::from(BadToken {
            path: path.to_owned(),
            text,
        })
    };
    if path.parent() != Some(folder) {
        return Err(bad(format!("a token lies in {}", folder.display())));
    }
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // A FIFO must not be waited for, and a link leads out of the folder.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY | nix::libc::O_NOFOLLOW;
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ConfigError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !0o640 != 0 {
        return Err(bad(format!("mode {mode:04o}, a token has 0600 or 0640")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_PASS_BYTES as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    let pass = Pass(bytes);
    // An environment could not carry a zero, and a second line is one too many.
    let plain = !pass.0.iter().any(|byte| matches!(byte, 0 | b'\n'));
    if pass.is_valid() && plain {
        Ok(pass)
    } else {
        Err(bad("a token is one line of 1 to 256 bytes".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// What comes of a token file with this content and mode.
    fn outcome(content: &[u8], mode: u32) -> Result<Pass, String> {
        let folder = new_folder();
        let path = folder.join("token");
        fs::write(&path, content).expect("the folder is ours");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
        let read = read(&path, &folder).map_err(|error| error.to_string());
        fs::remove_dir_all(&folder).expect("the folder is ours");
        read
    }

    fn new_folder() -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vkmps-token-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("the folder is new");
        folder
    }

    #[test]
    fn a_token_is_a_line_that_others_cannot_read() {
        let pass = |text: &str| Ok(Pass(text.as_bytes().to_vec()));
        assert_eq!(outcome(b"sesame\n", 0o600), pass("sesame"));
        assert_eq!(outcome(b" open sesame", 0o640), pass(" open sesame"));
        for mode in [0o644, 0o660, 0o641, 0o604, 0o4600, 0o700] {
            let refused = outcome(b"sesame\n", mode).unwrap_err();
            assert!(refused.contains("0600 or 0640"), "{refused}");
            assert!(!refused.contains("sesame"), "{refused}");
        }
        let long = [b'x'; MAX_PASS_BYTES + 1];
        for content in [&b""[..], b"\n", b"two\nlines\n", b"a\0b", &long] {
            let refused = outcome(content, 0o600).unwrap_err();
            assert!(refused.contains("one line"), "{refused}");
        }
        assert!(outcome(&long[1..], 0o600).is_ok());
    }

    #[test]
    fn a_token_lies_beside_the_configuration_and_is_a_file() {
        let folder = new_folder();
        let path = folder.join("token");
        fs::write(&path, "sesame").expect("the folder is ours");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the file is ours");
        assert!(read(&path, Path::new("/etc/vkmps")).is_err());
        assert!(read(&folder, folder.parent().expect("it has one")).is_err());
        assert!(read(&folder.join("none"), &folder).is_err());
        let link = folder.join("link");
        symlink(&path, &link).expect("the folder is ours");
        assert!(read(&link, &folder).is_err());
        assert!(read(&path, &folder).is_ok());
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }
}
