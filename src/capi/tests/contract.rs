//! `client.h` says what the library is: names, numbers, and that C programs build against both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use vkmps::ErrorCode;

const HEADER: &str = include_str!("../include/vkmps/client.h");
/// Names that the header shares with the ELF file.
const PREFIX: &str = "vkmps_";

/// Builds the library, which Cargo does not do for tests of a cdylib, and returns its path.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests are in TARGET/PROFILE/deps");
    let target = profile.parent().expect("tests are in TARGET/PROFILE/deps");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "vkmps-capi"])
        .arg("--target-dir")
        .arg(target);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    output_of(&mut cargo);
    profile.join("libvkmps_c.so")
}

fn output_of(command: &mut Command) -> String {
    let output = command
        .output()
        .expect("cargo, cc and binutils are installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("tools speak UTF-8")
}

/// Functions that the header declares: a name of ours followed by a bracket, on a line that is code.
fn declared() -> BTreeSet<&'static str> {
    let code = HEADER
        .split("/*")
        .map(|part| part.split_once("*/").map_or("", |(_, code)| code));
    let words = code
        .flat_map(|code| code.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words
        .filter_map(|word| word.strip_suffix('('))
        .filter(|name| name.starts_with(PREFIX))
        .collect()
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let symbols = output_of(
        Command::new("nm")
            .args(["-D", "--defined-only"])
            .arg(library()),
    );
    let exported: BTreeSet<&str> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    assert!(exported.len() > 15, "{symbols}");
    assert_eq!(exported, declared());
}

#[test]
fn the_library_is_called_as_programs_link_it() {
    let dynamic = output_of(Command::new("readelf").arg("-d").arg(library()));
    assert!(dynamic.contains("[libvkmps.so.1]"), "{dynamic}");
}

#[test]
fn the_header_numbers_every_error_as_the_wire_does() {
    for code in ErrorCode::ALL {
        let mut name = String::from("VKMPS_ERROR");
        for letter in format!("{code:?}").chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        assert!(
            HEADER.contains(&format!(" {name} = -{}", code.number())),
            "{name}"
        );
    }
    assert_eq!(
        HEADER.matches("VKMPS_ERROR_").count() - 2,
        ErrorCode::ALL.len()
    );
}

#[test]
fn the_c_programs_build_without_warnings_and_say_what_is_missing() {
    let library = library();
    let folder = std::env::temp_dir().join(format!("vkmps-capi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["libvkmps.so", "libvkmps.so.1"] {
        std::os::unix::fs::symlink(&library, folder.join(name)).unwrap();
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/c");
    for program in ["simple_compute", "multi_process"] {
        let built = folder.join(program);
        let mut compiler = Command::new("cc");
        compiler.args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-I",
        ]);
        compiler
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/include"))
            .arg(sources.join(program).with_extension("c"));
        compiler
            .arg("-o")
            .arg(&built)
            .arg("-L")
            .arg(&folder)
            .arg("-lvkmps");
        output_of(&mut compiler);
        let mut run = Command::new(&built);
        run.arg(sources.join("simple_compute.c"))
            .env("LD_LIBRARY_PATH", &folder);
        let run = run
            .env("VKMPS_SOCKET", folder.join("nobody.sock"))
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(1), "{program}");
        let text = String::from_utf8(run.stderr).unwrap();
        assert!(
            text.contains("no vkmpsd listens on the socket"),
            "{program}: {text}"
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
