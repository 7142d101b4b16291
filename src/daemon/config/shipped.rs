//! Checks of the file that is installed as `/etc/vkmps/vkmpsd.toml`.

use super::{Config, SandboxCheck};
use serde::Deserialize;
use std::collections::BTreeSet;

#[test]
fn the_shipped_file_is_the_defaults() {
    let shipped: Config = toml::from_str(SHIPPED).unwrap();
    assert_eq!(shipped, Config::default());
}

#[test]
fn the_shipped_file_has_every_key_and_no_other() {
    let table: toml::Table = toml::from_str(SHIPPED).unwrap();
    let shipped = table.iter().flat_map(|(name, keys)| {
        let keys = keys.as_table().unwrap().keys();
        keys.map(move |key| format!("{name}.{key}"))
    });
    assert_eq!(shipped.collect::<BTreeSet<_>>(), keys());
}

#[test]
fn every_key_of_the_shipped_file_is_documented_with_when_it_applies() {
    let mut comment = String::new();
    let mut table_comment = String::new();
    for line in SHIPPED.lines() {
        match line.strip_prefix("# ") {
            Some(text) => comment.push_str(text),
            None if line.contains(" = ") => {
                if table_comment.is_empty() {
                    table_comment.clone_from(&comment);
                }
                let applies = |text: &str| text.contains("(live") || text.contains("(restart)");
                assert!(!comment.is_empty(), "{line}");
                assert!(applies(&comment) || applies(&table_comment), "{line}");
                comment.clear();
            }
            None => {
                comment.clear();
                table_comment.clear();
            }
        }
    }
}

#[test]
fn the_shipped_file_says_the_bounds_that_are_checked() {
    let mut bounds = 0;
    for name in keys() {
        let wrong: toml::Table = toml::from_str(&format!("{name} = {{}}")).unwrap();
        let error = Config::deserialize(wrong).unwrap_err();
        let Some((_, rest)) = error.message().split_once(" from ") else {
            continue;
        };
        let range = rest
            .split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" ");
        let Some((least, most)) = range.split_once(" to ") else {
            continue;
        };
        let (_, key) = name.split_once('.').unwrap();
        let (before, _) = SHIPPED.split_once(&format!("\n{key} = ")).unwrap();
        let (_, comment) = before.rsplit_once("\n\n").unwrap();
        let comment = comment.replace("\n# ", " ");
        assert!(
            comment.contains(&format!("{least} to {most}")),
            "{name}: {range}"
        );
        bounds += 1;
    }
    assert_eq!(bounds, 19);
}

#[test]
fn the_example_of_a_rule_has_every_key_of_rules() {
    let (_, example) = SHIPPED.split_once("# [[rule]]\n").unwrap();
    let (example, _) = example.split_once("\n\n").unwrap();
    let lines = example.lines().map(|line| line.strip_prefix("# ").unwrap());
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let rule = toml::Table::from_iter([(
        "rule".to_owned(),
        toml::Value::Array(vec![table.clone().into()]),
    )]);
    let config = Config::deserialize(rule).unwrap();
    assert_eq!(config.rule.len(), 1);
    let wrong: toml::Table = toml::from_str("[[rule]]\nnonsense = 1").unwrap();
    let error = Config::deserialize(wrong).unwrap_err();
    let (_, names) = error.message().split_once("expected").unwrap();
    let keys: BTreeSet<&str> = names.split('`').skip(1).step_by(2).collect();
    assert_eq!(
        table.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        keys
    );
}

#[test]
fn every_check_can_be_a_warning() {
    let all = r#"warn-only = ["capabilities", "no-new-privileges", "seccomp", "landlock"]"#;
    let config: Config = toml::from_str(&format!("[sandbox]\n{all}")).unwrap();
    let checks = [
        SandboxCheck::Capabilities,
        SandboxCheck::NoNewPrivileges,
        SandboxCheck::Seccomp,
        SandboxCheck::Landlock,
    ];
    assert_eq!(config.sandbox.warn_only, checks);
}

/// Every key that a file may have, as the parser names them when one is wrong.
fn keys() -> BTreeSet<String> {
    let allowed = |text: &str| -> Vec<String> {
        let table: toml::Table = toml::from_str(text).unwrap();
        let error = Config::deserialize(table).unwrap_err();
        let (_, names) = error
            .message()
            .split_once("expected")
            .expect("a list of names");
        names
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let tables = allowed("nonsense = 1");
    // Of rules there is an example, in a comment.
    let tables = tables.iter().filter(|table| *table != "rule");
    let keys = tables.flat_map(|table| {
        let keys = allowed(&format!("{table}.nonsense = 1")).into_iter();
        keys.map(move |key| format!("{table}.{key}"))
    });
    keys.collect()
}

const SHIPPED: &str = include_str!("../../../systemd/vkmpsd.toml");
