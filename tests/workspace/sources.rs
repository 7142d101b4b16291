//! What the files look like.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use vkmps_tests::binaries::output_of;
use vkmps_tests::binaries::{tool, workspace};
use vkmps_tests::folder::Folder;
use vkmps_tests::patience::skipped;

#[test]
fn no_source_file_is_longer_than_600_lines() {
    for file in files(workspace(), &["rs", "c", "h", "comp"]) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", file.display());
    }
}

#[test]
fn the_readme_has_at_most_150_lines() {
    let text = fs::read_to_string(workspace().join("README.md")).unwrap();
    let lines = text.lines().count();
    assert!(lines <= 150, "README.md has {lines} lines");
}

#[test]
fn every_shader_has_up_to_date_spirv_beside_it() {
    let (Some(compiler), Some(optimizer)) = (tool("glslangValidator"), tool("spirv-opt")) else {
        return skipped(
            "glslangValidator or spirv-opt is not installed (apt install glslang-tools spirv-tools)",
        );
    };
    let folder = Folder::new();
    let shaders = [
        workspace().join("shaders"),
        workspace().join("tests/shaders"),
    ];
    let sources: Vec<PathBuf> = shaders
        .iter()
        .flat_map(|folder| files(folder, &["comp"]))
        .collect();
    assert!(sources.len() >= 8, "{sources:?}");
    for source in sources {
        let committed = fs::read(source.with_extension("spv"));
        let committed = committed
            .unwrap_or_else(|error| panic!("{} is not compiled: {error}", source.display()));
        let binary = folder.join("made.spv");
        let mut compile = Command::new(&compiler);
        output_of(
            compile
                .args(["-V", "--target-env", "vulkan1.2"])
                .arg(&source)
                .arg("-o")
                .arg(&binary),
        );
        let mut optimize = Command::new(&optimizer);
        output_of(
            optimize
                .args(["--target-env=vulkan1.2", "-O"])
                .arg(&binary)
                .arg("-o")
                .arg(&binary),
        );
        let made = fs::read(&binary).unwrap();
        // The third word names the compiler and its version; another one makes other code of the same source.
        if made.get(8..12) != committed.get(8..12) {
            skipped(&format!(
                "{} was compiled by another version of glslangValidator",
                source.display()
            ));
            continue;
        }
        assert!(
            made == committed,
            "{} is not what its source compiles to; see shaders/README.md",
            source.display()
        );
    }
}

/// Files with these extensions below a folder, without what Cargo built.
pub(crate) fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(next) = ahead.pop() {
        for entry in fs::read_dir(&next)
            .unwrap_or_else(|error| panic!("{}: {error}", next.display()))
            .flatten()
        {
            let (path, name) = (entry.path(), entry.file_name());
            let hidden = name.to_string_lossy().starts_with('.');
            if path.is_dir() && !hidden && name != "target" {
                ahead.push(path);
            } else if path
                .extension()
                .is_some_and(|end| extensions.iter().any(|wanted| end == *wanted))
            {
                found.push(path);
            }
        }
    }
    found
}
