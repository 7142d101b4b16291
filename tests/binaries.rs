//! Finding what was built, and refusing what is out of date.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is a folder of the workspace")
}

/// An executable or library of this build.
///
/// # Panics
/// When it is missing or older than a source file it was made of.
pub fn built(name: &str) -> PathBuf {
    let path = build_folder().join(name);
    let advice = "; run `cargo build --workspace` (with the same profile) first";
    let Ok(made) = fs::metadata(&path).and_then(|metadata| metadata.modified()) else {
        panic!("{} is missing{advice}", path.display());
    };
    let list = path.with_extension("d");
    let Ok(dependencies) = fs::read_to_string(&list) else {
        panic!("{} is missing{advice}", list.display());
    };
    for source in sources(&dependencies) {
        if let Some(changed) = modified(&source).filter(|changed| *changed > made) {
            let age = changed.duration_since(made).unwrap_or_default();
            panic!(
                "{} is stale: {} is {age:?} newer{advice}",
                path.display(),
                source.display()
            );
        }
    }
    path
}

/// Where Cargo puts the binaries of the profile that this test was built with.
pub fn build_folder() -> PathBuf {
    let mut folder = std::env::current_exe().expect("a test knows its own path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

/// A tool of the system, if it is installed.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What a command wrote on standard output.
///
/// # Panics
/// When it fails.
pub fn output_of(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{errors}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The files that a dep-info file of Cargo names behind its first colon; blanks in names are escaped.
fn sources(dependencies: &str) -> Vec<PathBuf> {
    let Some((_, files)) = dependencies
        .lines()
        .next()
        .and_then(|line| line.split_once(": "))
    else {
        return Vec::new();
    };
    let files = files.replace("\\ ", "\0");
    files
        .split_whitespace()
        .map(|file| PathBuf::from(file.replace('\0', " ")))
        .collect()
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file)
        .and_then(|metadata| metadata.modified())
        .ok()
}
