//! What a run found: a table for people, lines of JSON for programs.

use crate::arguments::Options;
use crate::bench::Bench;
use crate::error::Error;
use crate::figures::median;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::Write;

/// One arm's figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) arm: String,
    pub(crate) clients: usize,
    pub(crate) depth: usize,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

/// One round of one arm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

impl Row {
    /// The medians of the rounds.
    pub(crate) fn of(
        scenario: &'static str,
        arm: impl Into<String>,
        unit: &'static str,
        rounds: &[Sample],
    ) -> Self {
        let middle = |pick: fn(&Sample) -> Option<f64>| {
            median(&rounds.iter().filter_map(pick).collect::<Vec<_>>())
        };
        Self {
            scenario,
            arm: arm.into(),
            clients: 1,
            depth: 1,
            value: middle(|sample| Some(sample.value)).unwrap_or(f64::NAN),
            unit,
            p50_us: middle(|sample| sample.p50_us),
            p99_us: middle(|sample| sample.p99_us),
        }
    }

    pub(crate) fn with(self, clients: usize, depth: usize) -> Self {
        Self {
            clients,
            depth,
            ..self
        }
    }
}

/// All arms and what they say about each other.
pub(crate) struct Report {
    scenario: &'static str,
    rows: Vec<Row>,
    ratios: Map<String, Value>,
    notes: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(scenario: &'static str, rows: Vec<Row>) -> Self {
        Self {
            scenario,
            rows,
            ratios: Map::new(),
            notes: Map::new(),
        }
    }

    pub(crate) fn row(&self, arm: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.arm == arm)
    }

    /// `name` = value of one arm over the value of another, where both were measured.
    pub(crate) fn ratio(&mut self, name: &str, of: &str, to: &str) {
        if let (Some(of), Some(to)) = (self.row(of), self.row(to)) {
            self.put_ratio(name, of.value / to.value);
        }
    }

    pub(crate) fn put_ratio(&mut self, name: &str, ratio: f64) {
        self.ratios.insert(name.to_owned(), json!(round(ratio)));
    }

    /// Something that a reader of the figures must know.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.notes.insert(name.to_owned(), value.into());
    }

    pub(crate) fn print(self, bench: &Bench, options: &Options) -> Result<(), Error> {
        self.print_with(bench.conditions(options), options.json)
    }

    /// The same for a run that had no device; `last` as [`Bench::conditions`] has it.
    pub(crate) fn print_with(
        mut self,
        mut last: Map<String, Value>,
        json: bool,
    ) -> Result<(), Error> {
        if let Some(Value::Object(settings)) = last.get_mut("settings") {
            settings.append(&mut self.notes);
        }
        let lines = if json {
            self.json(last)?
        } else {
            self.table(&last)
        };
        // Not println, which panics when the reader has gone.
        std::io::stdout()
            .write_all((lines.join("\n") + "\n").as_bytes())
            .map_err(|source| Error::Io("writing the report", source))
    }

    fn json(self, mut last: Map<String, Value>) -> Result<Vec<String>, Error> {
        let rows = self.rows.iter().map(serde_json::to_string);
        let mut lines = rows.collect::<Result<Vec<_>, _>>()?;
        last.insert("scenario".to_owned(), json!(self.scenario));
        last.insert("ratios".to_owned(), Value::Object(self.ratios));
        lines.push(Value::Object(last).to_string());
        Ok(lines)
    }

    fn table(&self, last: &Map<String, Value>) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<28} {:>7} {:>5} {:>14} {:<14} {:>10} {:>10}",
            "arm", "clients", "depth", "value", "unit", "p50 us", "p99 us"
        )];
        for row in &self.rows {
            let (p50, p99) = (optional(row.p50_us), optional(row.p99_us));
            let value = number(row.value);
            lines.push(format!(
                "{:<28} {:>7} {:>5} {value:>14} {:<14} {p50:>10} {p99:>10}",
                row.arm, row.clients, row.depth, row.unit
            ));
        }
        lines.extend(
            self.ratios
                .iter()
                .map(|(name, ratio)| format!("{name} = {ratio}")),
        );
        let null = Value::Null;
        for name in ["device", "driver", "settings"] {
            lines.push(format!("{name}: {}", last.get(name).unwrap_or(&null)));
        }
        lines
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// Enough digits, and no more.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Four decimals: more is noise.
fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
