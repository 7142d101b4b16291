//! Who may use whom, and who may be unsafe.

use crate::sources::files;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use vkmps_tests::binaries::output_of;
use vkmps_tests::binaries::workspace;

/// Section 2 of the design: folder in `src/`, what it may use of ours, whether it may be unsafe.
const CRATES: [(&str, &[&str], Unsafe); 16] = [
    ("protocol", &[], Unsafe::Forbidden),
    ("ipc", &["protocol"], Unsafe::Allowed),
    ("broker", &["protocol"], Unsafe::Forbidden),
    ("scheduler", &["protocol"], Unsafe::Forbidden),
    ("spirv", &[], Unsafe::Allowed),
    ("gpu", &[], Unsafe::Allowed),
    ("bus", &[], Unsafe::Forbidden),
    ("sandbox", &["ipc"], Unsafe::Forbidden),
    (
        "daemon",
        &["protocol", "ipc", "broker", "bus", "sandbox"],
        Unsafe::Forbidden,
    ),
    (
        "engine",
        &["protocol", "ipc", "scheduler", "gpu", "spirv", "sandbox"],
        Unsafe::Forbidden,
    ),
    ("client", &["protocol", "ipc"], Unsafe::Forbidden),
    ("capi", &["client"], Unsafe::Allowed),
    ("icd", &["client"], Unsafe::Allowed),
    ("ctl", &["protocol", "bus", "client"], Unsafe::Forbidden),
    (
        "bench",
        &["protocol", "scheduler", "gpu", "client"],
        Unsafe::Forbidden,
    ),
    ("xtask", &[], Unsafe::Forbidden),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsafe {
    Forbidden,
    Allowed,
}

/// Loaded into other people's processes, and what must not come along.
const GUESTS: [&str; 3] = ["client", "capi", "icd"];

const NOT_FOR_GUESTS: [&str; 4] = ["zbus", "tokio", "serde_json", "tracing-subscriber"];

#[test]
fn crates_use_only_whom_the_design_lets_them_use() {
    for (folder, used) in edges() {
        let (_, allowed, _) = CRATES
            .iter()
            .find(|(name, ..)| *name == folder)
            .unwrap_or_else(|| panic!("src/{folder} is not in the table of crates"));
        for name in used {
            assert!(
                allowed.contains(&name.as_str()),
                "{folder} uses {name}, which the design does not allow"
            );
        }
    }
}

#[test]
fn the_table_in_the_readme_shows_every_crate_and_what_it_uses() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim);
        let name = cells.nth(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let used = cells.nth(1)?.split_whitespace().map(str::to_owned);
        let used = used.filter(|name| CRATES.iter().any(|(known, ..)| known == name));
        Some((name.to_owned(), used.collect()))
    });
    let shown: BTreeMap<String, BTreeSet<String>> = rows.collect();
    assert_eq!(shown, edges());
}

#[test]
fn what_other_processes_load_reaches_no_bus_runtime_or_log_subscriber() {
    // What other platforms need was never downloaded.
    let metadata = metadata(&["--filter-platform", &host()]);
    let nodes: BTreeMap<&str, &Value> = array(&metadata["resolve"], "nodes")
        .map(|node| (text(node, "id"), node))
        .collect();
    let names: BTreeMap<&str, &str> = array(&metadata, "packages")
        .map(|package| (text(package, "id"), text(package, "name")))
        .collect();
    let mut seen_guests = 0;
    for (id, folder) in folders(&metadata) {
        if !GUESTS.contains(&folder.as_str()) {
            continue;
        }
        seen_guests += 1;
        let mut closure = BTreeSet::from([id.clone()]);
        let mut ahead = vec![id];
        while let Some(next) = ahead.pop() {
            for dependency in array(nodes[next.as_str()], "deps") {
                let runs = array(dependency, "dep_kinds").any(|kind| kind["kind"].is_null());
                if runs && closure.insert(text(dependency, "pkg").to_owned()) {
                    ahead.push(text(dependency, "pkg").to_owned());
                }
            }
        }
        let reached: Vec<&str> = closure.iter().map(|id| names[id.as_str()]).collect();
        for name in NOT_FOR_GUESTS {
            assert!(
                !reached.contains(&name),
                "{folder} reaches {name}: {reached:?}"
            );
        }
    }
    assert!(seen_guests >= 2);
}

#[test]
fn crates_without_unsafe_say_so_and_the_others_say_why() {
    for (name, _, rule) in CRATES {
        let folder = workspace().join("src").join(name);
        let Some(root) = ["lib.rs", "main.rs"]
            .map(|file| folder.join(file))
            .into_iter()
            .find(|file| file.is_file())
        else {
            continue;
        };
        let text = fs::read_to_string(&root).unwrap();
        match rule {
            Unsafe::Forbidden => {
                assert!(
                    text.contains("\n#![forbid(unsafe_code)]"),
                    "{} does not forbid unsafe code",
                    root.display()
                );
            }
            Unsafe::Allowed => {
                // For the crate, or for the one module that needs it.
                let opened = |file: &PathBuf| {
                    let text = fs::read_to_string(file).unwrap();
                    let rest = text.split("unsafe_code").nth(1);
                    rest.is_some_and(|rest| rest.contains("reason = "))
                };
                assert!(
                    files(&folder, &["rs"]).iter().any(opened),
                    "src/{name} does not say why it needs unsafe code"
                );
            }
        }
    }
}

/// Every crate in `src/` with those of ours that it is made of; what its tests use is not part of it.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let mut edges = BTreeMap::new();
    for (id, folder) in folders(&metadata) {
        let package = array(&metadata, "packages")
            .find(|package| text(package, "id") == id)
            .expect("it is there");
        let used = array(package, "dependencies")
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| {
                Path::new(dependency["path"].as_str()?)
                    .file_name()?
                    .to_str()
            })
            .map(str::to_owned);
        edges.insert(folder, used.collect());
    }
    edges.remove("tests");
    edges
}

/// Folder in `src/` (or `tests`) of each of our packages, by id.
fn folders(metadata: &Value) -> BTreeMap<String, String> {
    let members: BTreeSet<&str> = array(metadata, "workspace_members")
        .filter_map(Value::as_str)
        .collect();
    let ours = array(metadata, "packages").filter(|package| members.contains(text(package, "id")));
    ours.map(|package| {
        let folder = Path::new(text(package, "manifest_path"))
            .parent()
            .and_then(Path::file_name);
        let folder = folder
            .and_then(|name| name.to_str())
            .expect("a manifest is in a folder");
        (text(package, "id").to_owned(), folder.to_owned())
    })
    .collect()
}

fn metadata(arguments: &[&str]) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(arguments)
        .current_dir(workspace());
    serde_json::from_str(&output_of(&mut cargo)).expect("cargo writes JSON")
}

/// The triple of the machine that this runs on.
fn host() -> String {
    let version = output_of(Command::new("rustc").arg("-vV"));
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
        .iter()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}
