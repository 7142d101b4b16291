//! The manual pages name what there is, all of it.

use crate::bus::Bus;
use crate::program::{command, run, vkmpsctl};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A page as it is written, without the escapes of dashes.
fn page(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../debian/man");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.replace("\\-", "-")
}

/// Words after the first macro of every item of a section.
fn items(page: &str, section: &str) -> BTreeSet<String> {
    let section = page
        .split("\n.SH ")
        .find(|text| text.starts_with(section))
        .unwrap();
    let items = section.split("\n.T").skip(1);
    let words = items.flat_map(|item| {
        let line = item.lines().nth(1).unwrap();
        let words = line.split([' ', ',', '"']).skip(1);
        match line.starts_with(".BR ") {
            true => words.collect::<Vec<_>>(),
            false => words.take(1).collect(),
        }
    });
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The options that a help text names.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn vkmpsctl_1_has_the_verbs_and_options_of_the_program() {
    let bus = Bus::start();
    let page = page("vkmpsctl.1");
    let help = vkmpsctl(&bus, &["--help"]).well();
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let verbs: BTreeSet<String> = commands
        .lines()
        .map_while(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect();
    assert_eq!(items(&page, "COMMANDS"), verbs);
    for verb in &verbs {
        for option in options(&vkmpsctl(&bus, &[verb, "--help"]).well()) {
            assert!(page.contains(&option), "{verb} {option}");
        }
    }
}

#[test]
fn vkmps_control_1_has_the_commands_and_options_of_the_program() {
    let bus = Bus::start();
    let page = page("vkmps-control.1");
    let control = |words: &[&str]| {
        let mut control = command(env!("CARGO_BIN_EXE_vkmps-control"), &bus);
        run(control.args(words), "")
    };
    for option in options(&control(&["--help"]).well()) {
        assert!(page.contains(&option), "{option}");
    }
    let commands = items(&page, "COMMANDS");
    assert!(commands.len() > 20, "{commands:?}");
    for name in commands {
        assert_ne!(
            control(&[&name]).output,
            format!("Unknown command \"{name}\"\n")
        );
    }
}

/// Every key of a result is in the page of `vkmpsctl`.
pub(crate) fn assert_documented(result: &Value) {
    let page = page("vkmpsctl.1");
    let words: BTreeSet<&str> = page
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let mut ahead = vec![result];
    while let Some(value) = ahead.pop() {
        match value {
            Value::Array(values) => ahead.extend(values),
            Value::Object(values) => {
                for (key, value) in values {
                    assert!(words.contains(key.as_str()), "{key} is not documented");
                    ahead.push(value);
                }
            }
            _ => {}
        }
    }
}
