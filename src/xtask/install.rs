//! `cargo xtask install PREFIX`: the programs, the C library, its header and its pkg-config file, where others find them.

use crate::cargo;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Copies what a release build made. `prefix` is made absolute, since vkmps.pc names it.
pub(crate) fn install(prefix: &str) -> io::Result<bool> {
    fs::create_dir_all(prefix)?;
    let prefix = fs::canonicalize(prefix)?;
    let built = cargo::folder(cargo::Profile::Release)?;
    let source = cargo::root().join("src/capi");
    let copy = |from: &Path, to: &str| {
        let to = prefix.join(to);
        fs::create_dir_all(to.parent().unwrap_or(&prefix))?;
        // Not over a file that may be running or mapped: a new one in its place.
        let _ = fs::remove_file(&to);
        fs::copy(from, &to).map(drop)
    };
    let link = |target: &str, to: &str| {
        let to = prefix.join(to);
        fs::create_dir_all(to.parent().unwrap_or(&prefix))?;
        let _ = fs::remove_file(&to);
        symlink(target, to)
    };
    // The daemon looks for its engine in its own folder.
    copy(&built.join("vkmpsd"), "libexec/vkmps/vkmpsd")?;
    copy(&built.join("vkmps-engine"), "libexec/vkmps/vkmps-engine")?;
    link("../libexec/vkmps/vkmpsd", "bin/vkmpsd")?;
    copy(&built.join("vkmpsctl"), "bin/vkmpsctl")?;
    copy(&built.join("vkmps-control"), "bin/vkmps-control")?;
    copy(&built.join("libvkmps_c.so"), "lib/libvkmps.so.1")?;
    link("libvkmps.so.1", "lib/libvkmps.so")?;
    copy(
        &source.join("include/vkmps/client.h"),
        "include/vkmps/client.h",
    )?;
    let text = fs::read_to_string(source.join("vkmps.pc.in"))?
        .replace("@prefix@", &prefix.to_string_lossy())
        .replace("@libdir@", "${prefix}/lib")
        .replace("@version@", env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(prefix.join("lib/pkgconfig"))?;
    fs::write(prefix.join("lib/pkgconfig/vkmps.pc"), text)?;
    println!("installed below {}", prefix.display());
    Ok(true)
}
