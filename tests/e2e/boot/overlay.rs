//! A machine's root: layers that are only read, and one on top that takes what is written.

use super::world::mounted;
use super::{BootError, at};
use nix::mount::MsFlags;
use std::fs;
use std::path::{Path, PathBuf};

/// Mounts one in a machine's folder, over these layers, upper first; its path.
pub(super) fn mount(folder: &Path, layers: &[PathBuf]) -> Result<PathBuf, BootError> {
    let (upper, work, merged) = (upper(folder), folder.join("work"), folder.join("root"));
    for folder in [&upper, &work, &merged] {
        fs::create_dir(folder).map_err(at(folder))?;
    }
    let layers: Vec<_> = layers.iter().map(|path| path.to_string_lossy()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        layers.join(":"),
        upper.display(),
        work.display()
    );
    mounted(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(&options),
    )?;
    Ok(merged)
}

/// Where what is written lands.
pub(super) fn upper(folder: &Path) -> PathBuf {
    folder.join("upper")
}
