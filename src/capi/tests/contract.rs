//! `client.h` says what the library is: names and numbers. The C programs in `tests/c` build against both.

use std::collections::BTreeSet;
use std::path::PathBuf;
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
    let output = command.output().expect("cargo and binutils are installed");
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
