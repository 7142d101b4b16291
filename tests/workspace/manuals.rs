//! The manual pages say what is there, all of it, and can be read.

use crate::sources::files;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use vkmps_tests::binaries::{built, output_of, tool, workspace};
use vkmps_tests::patience::skipped;

#[test]
fn manual_pages_are_without_warnings() {
    let Some(man) = tool("man") else {
        return skipped("man is not installed (apt install man-db)");
    };
    let pages = files(&workspace().join("debian/man"), &["1", "5", "8"]);
    assert!(pages.len() >= 3, "{pages:?}");
    for page in pages {
        let output = Command::new(&man)
            .args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .arg(&page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80")
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaints.is_empty(),
            "{}: {complaints}",
            page.display()
        );
    }
}

#[test]
fn vkmpsd_8_has_the_options_of_the_program() {
    let help = output_of(Command::new(built("vkmpsd")).arg("--help"));
    let options = |line: &str| -> BTreeSet<String> {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words
            .filter(|word| word.starts_with('-') && word.len() > 1)
            .map(str::to_owned)
            .collect()
    };
    let offered: BTreeSet<String> = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        // What follows two blanks explains the option.
        .filter_map(|line| line.trim_start().split("  ").next())
        .flat_map(options)
        .collect();
    let described: BTreeSet<String> = tags(&page("vkmpsd.8"), "OPTIONS")
        .iter()
        .flat_map(|tag| options(tag))
        .collect();
    assert!(offered.len() > 10, "{help}");
    assert_eq!(described, offered);
}

#[test]
fn vkmpsd_8_has_the_fields_of_the_journal() {
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        words
            .filter(|word| word.starts_with("VKMPS_") && word.len() > 6)
            .map(str::to_owned)
            .collect()
    };
    let sources = files(&workspace().join("src/daemon"), &["rs"]);
    let mut written: BTreeSet<String> = sources
        .iter()
        .flat_map(|file| names(&fs::read_to_string(file).unwrap()))
        .collect();
    // A variable of the environment.
    written.remove("VKMPS_LOG");
    let described = names(&tags(&page("vkmpsd.8"), "JOURNAL").join(" "));
    assert_eq!(described, written);
}

#[test]
fn vkmpsd_toml_5_has_the_keys_of_the_shipped_file() {
    let shipped = fs::read_to_string(workspace().join("systemd/vkmpsd.toml")).unwrap();
    let page = page("vkmpsd.toml.5");
    let mut tables = 0;
    for table in shipped.split("\n[").skip(1) {
        let (name, rest) = table.split_once("]\n").expect("a table has a name");
        let keys = rest.lines().filter_map(|line| line.split_once(" = "));
        let keys: Vec<&str> = keys
            .map(|(key, _)| key)
            .filter(|key| !key.starts_with('#'))
            .collect();
        assert_eq!(tags(&page, &format!("[{name}]")), keys, "[{name}]");
        tables += 1;
    }
    assert_eq!(page.matches("\n.SH [").count(), tables);
    let (_, example) = shipped.split_once("# [[rule]]\n").expect("an example");
    let lines = example.lines().take_while(|line| line.starts_with("# "));
    let keys: Vec<&str> = lines
        .filter_map(|line| Some(line.strip_prefix("# ")?.split_once(" = ")?.0))
        .collect();
    assert_eq!(tags(&page, "RULES"), keys);
}

#[test]
fn org_vkmps_manager_5_has_what_the_contract_has() {
    let page = page("org.vkmps.Manager.5");
    let contract: String = files(&workspace().join("dbus"), &["xml"])
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for (section, element) in [
        ("METHODS", "<method name=\""),
        ("PROPERTIES", "<property name=\""),
        ("SIGNALS", "<signal name=\""),
    ] {
        // Arguments follow a name in parentheses.
        let described = words(&page, section, |tag| {
            tag.split('(').next().unwrap_or_default().to_owned()
        });
        assert_eq!(described, attributes(&contract, element), "{section}");
    }
    let (_, errors) = contract.split_once("org.vkmps.Error.{").expect("a list");
    let (errors, _) = errors.split_once('}').expect("an end of the list");
    let errors = errors
        .split(',')
        .map(|name| format!("org.vkmps.Error.{name}"));
    assert_eq!(words(&page, "ERRORS", str::to_owned), errors.collect());
    let policy = workspace().join("polkit/org.vkmps.Manager.policy");
    let actions = attributes(&fs::read_to_string(policy).unwrap(), "<action id=\"");
    assert_eq!(words(&page, "ACTIONS", str::to_owned), actions);
}

/// The words of a section's tags.
fn words(page: &str, section: &str, part: impl Fn(&str) -> String) -> BTreeSet<String> {
    let tags = tags(page, section);
    let parts = tags.iter().map(|tag| part(tag));
    parts
        .flat_map(|part| {
            let words = part.split([' ', ',']).map(str::to_owned);
            words.collect::<Vec<_>>()
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// What stands between an opening and the next quotation mark.
fn attributes(text: &str, opening: &str) -> BTreeSet<String> {
    text.split(opening)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}

/// The tags (`.TP`) of a section, without markup.
fn tags(page: &str, section: &str) -> Vec<String> {
    let start = format!("\n.SH {section}\n");
    let (_, rest) = page
        .split_once(&start)
        .unwrap_or_else(|| panic!("no section {section}"));
    let section = rest.split("\n.SH ").next().unwrap_or_default();
    section
        .split("\n.TP\n")
        .skip(usize::from(!section.starts_with(".TP\n")))
        .filter_map(|entry| entry.trim_start_matches(".TP\n").lines().next())
        .map(|line| {
            let line = line.split_once(' ').map_or(line, |(_, tag)| tag);
            line.replace("\\fI", "")
                .replace("\\fR", "")
                .replace('"', "")
        })
        .collect()
}

/// With continued lines joined and plain hyphens.
fn page(name: &str) -> String {
    let text = fs::read_to_string(workspace().join("debian/man").join(name));
    let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
    text.replace("\\\n", "").replace("\\-", "-")
}
