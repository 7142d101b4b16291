//! Copying a client's module before anything looks at it.

use crate::foreign::Foreign;
use nix::errno::Errno;
use nix::sys::uio::{pread, pwrite};
use sha2::{Digest, Sha256};
use std::os::fd::OwnedFd;
use vkmps_broker::Source;
use vkmps_ipc::memory::sealed_memfd;
use vkmps_protocol::handle::ProgramHash;

/// Copies the announced bytes into a memfd of ours and hashes what was copied. Other clients are served in between.
///
/// Only shared memory is read: a file of a network or user-space filesystem could make the daemon wait for ever.
pub(crate) async fn copy(
    module: Foreign,
    source: Source,
) -> Result<(ProgramHash, OwnedFd), String> {
    let no_memfd = || "the module's descriptor is no memfd".to_owned();
    let module = module.shared_memory().ok_or_else(no_memfd)?;
    let copy = sealed_memfd("vkmps-module", source.module_bytes).map_err(|e| e.to_string())?;
    let mut digest = digest_of_parameters(&source);
    let mut piece = vec![0; PIECE_BYTES];
    let mut copied = 0;
    while copied < source.module_bytes {
        let left = usize::try_from(source.module_bytes - copied).unwrap_or(PIECE_BYTES);
        let wanted = left.min(PIECE_BYTES);
        let offset = i64::try_from(copied).map_err(|_| "the module is too large".to_owned())?;
        let count = match pread(module, &mut piece[..wanted], offset) {
            Ok(0) => return Err(format!("the module ends after {copied} bytes")),
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(format!("the module cannot be read: {errno}")),
        };
        digest.update(&piece[..count]);
        let mut written = 0;
        while written < count {
            let at = offset + i64::try_from(written).map_err(|_| "too large".to_owned())?;
            match pwrite(&copy, &piece[written..count], at) {
                Ok(more) => written += more,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(format!("the module cannot be copied: {errno}")),
            }
        }
        copied += count as u64;
        tokio::task::yield_now().await;
    }
    Ok((ProgramHash(digest.finalize().into()), copy))
}

/// Lengths first, so that no two different requests hash the same bytes.
fn digest_of_parameters(source: &Source) -> Sha256 {
    let mut digest = Sha256::new();
    digest.update((source.entry.len() as u64).to_le_bytes());
    digest.update((source.specialization.len() as u64).to_le_bytes());
    digest.update(source.module_bytes.to_le_bytes());
    digest.update(source.entry.as_bytes());
    for constant in &source.specialization {
        digest.update(constant.id.to_le_bytes());
        digest.update(constant.value.to_le_bytes());
    }
    digest
}

/// Between two turns of other clients: less than a millisecond also in a debug build.
const PIECE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use vkmps_ipc::memory::{memfd_with, read_exactly};

    const USER: u32 = 1000;

    fn source(entry: &str, module_bytes: u64) -> Source {
        Source {
            entry: entry.to_owned(),
            module_bytes,
            specialization: Vec::new(),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_copy_is_what_was_hashed() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let module = || Foreign::new(memfd_with("module", &bytes).unwrap(), USER);
        let (hash, copied) = copy(module(), source("main", 100_000)).await.unwrap();
        assert_eq!(read_exactly(&copied, 100_000).unwrap(), bytes);
        assert_eq!(
            copy(module(), source("main", 100_000)).await.unwrap().0,
            hash
        );
        assert_ne!(
            copy(module(), source("other", 100_000)).await.unwrap().0,
            hash
        );
        assert_ne!(
            copy(module(), source("main", 99_996)).await.unwrap().0,
            hash
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn short_modules_and_other_files_are_refused() {
        let module = memfd_with("module", &[0; 64]).unwrap();
        assert!(
            copy(Foreign::new(module, USER), source("main", 128))
                .await
                .is_err()
        );
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        assert!(
            copy(Foreign::new(reader, USER), source("main", 4))
                .await
                .is_err()
        );
        let file = OwnedFd::from(std::fs::File::open("/proc/self/stat").unwrap());
        assert!(
            copy(Foreign::new(file, USER), source("main", 4))
                .await
                .is_err()
        );
    }
}
