//! The machine's journal.

use super::text;
use crate::boot::Machine;
use serde_json::Value;
use vkmps_tests::patience::holds_within;

/// One entry with all its fields.
#[derive(Debug, Clone)]
pub(crate) struct Entry(Value);

impl Entry {
    /// A field; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> String {
        match &self.0[name] {
            Value::String(text) => text.clone(),
            // Bytes that are not text.
            Value::Array(bytes) => {
                let bytes = bytes.iter().filter_map(Value::as_u64);
                text(
                    &bytes
                        .filter_map(|byte| u8::try_from(byte).ok())
                        .collect::<Vec<u8>>(),
                )
            }
            _ => String::new(),
        }
    }

    /// The message.
    pub(crate) fn message(&self) -> String {
        self.field("MESSAGE")
    }
}

impl Machine {
    /// The service's entries with these fields, as `NAME=value`.
    pub(crate) fn journal(&self, fields: &[&str]) -> Vec<Entry> {
        let command = [
            "journalctl",
            "--boot",
            "--output=json",
            "--all",
            "--unit=vkmpsd",
        ];
        // What was written before this is in it.
        self.ok(&["journalctl", "--sync"]);
        let output = self.ok(&[&command, fields].concat());
        let entries = output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        entries.map(Entry).collect()
    }

    /// Waits for an entry with these fields of which something holds.
    ///
    /// # Panics
    /// When there never is one.
    pub(crate) fn await_entry(&self, fields: &[&str], wanted: impl Fn(&Entry) -> bool) -> Entry {
        let mut found = None;
        let _in_time = holds_within(vkmps_tests::patience::PATIENCE, || {
            found = self.journal(fields).into_iter().find(&wanted);
            found.is_some()
        });
        found.unwrap_or_else(|| {
            let there: Vec<String> = self.journal(fields).iter().map(Entry::message).collect();
            panic!("no such entry among those with {fields:?}: {there:#?}")
        })
    }
}
