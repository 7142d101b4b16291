//! What the binaries need.

use std::process::Command;
use vkmps_tests::binaries::output_of;
use vkmps_tests::binaries::{built, tool};
use vkmps_tests::patience::skipped;

#[test]
fn the_engine_needs_nothing_but_libc() {
    let Some(readelf) = tool("readelf") else {
        return skipped("readelf is not installed (apt install binutils)");
    };
    let dynamic = output_of(Command::new(readelf).arg("-d").arg(built("vkmps-engine")));
    let allowed = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split(['[', ']']).nth(1).expect("a name in brackets");
        let loader = name.starts_with("ld-linux");
        assert!(
            loader || allowed.contains(&name),
            "vkmps-engine needs {name}"
        );
    }
}

#[test]
fn the_daemon_is_static() {
    let Some(readelf) = tool("readelf") else {
        return skipped("readelf is not installed (apt install binutils)");
    };
    let daemon = built("vkmpsd");
    let headers = output_of(Command::new(&readelf).arg("-lW").arg(&daemon));
    if headers.contains("INTERP") {
        return skipped("this vkmpsd was built without -C target-feature=+crt-static");
    }
    let dynamic = output_of(Command::new(readelf).arg("-d").arg(&daemon));
    assert!(!dynamic.contains("(NEEDED)"), "{dynamic}");
}
