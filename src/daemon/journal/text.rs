//! How a line reads: the message, then its fields, on one line whatever clients put into it.

use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// `client connected client=5 uid=1000 name="x"`: what the journal calls `VKMPS_UID` is `uid` here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text;

impl Text {
    /// A line without time and level.
    pub(super) fn of(fields: &impl RecordFields) -> String {
        let mut text = String::new();
        // Writing to a string does not fail, and a value that fails to show itself is cut off.
        let _ = Self.format_fields(Writer::new(&mut text), fields);
        text
    }
}

impl<'a> FormatFields<'a> for Text {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'a>, fields: R) -> fmt::Result {
        let mut line = Line {
            out: Escaped(writer),
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'a> {
    out: Escaped<Writer<'a>>,
    result: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            // Quotes show where a text that somebody chose ends.
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_ok() {
            self.result = match field.name() {
                "message" => write!(self.out, "{value:?}"),
                "MESSAGE_ID" => Ok(()),
                name => {
                    let name = name.strip_prefix("VKMPS_").unwrap_or(name);
                    write!(self.out, " {}={value:?}", name.to_ascii_lowercase())
                }
            };
        }
    }
}

/// Shows what would do something to a terminal or begin a new line by its number.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let escaped = c.escape_debug();
            // Two are a quote or a backslash with another backslash.
            if c.is_control() || escaped.len() > 2 {
                write!(self.0, "{escaped}")?;
            } else {
                self.0.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::registry::Registry;

    struct Collector(Arc<Mutex<Vec<String>>>);

    impl Layer<Registry> for Collector {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, Registry>) {
            self.0.lock().unwrap().push(Text::of(event));
        }
    }

    fn line(write: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Collector(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, write);
        let mut lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }

    #[test]
    fn fields_of_the_journal_have_readable_names() {
        let text = line(|| {
            tracing::info!(
                MESSAGE_ID = "f00",
                VKMPS_CLIENT = 5,
                VKMPS_NAME = "job \"7\"",
                error = %"as it is",
                "client connected"
            );
        });
        assert_eq!(
            text,
            r#"client connected client=5 name="job \"7\"" error=as it is"#
        );
    }

    #[test]
    fn nobody_can_begin_a_line_or_command_a_terminal() {
        let hostile = "\u{1b}[31m\nforged\r\u{9b}2J\u{202e}\u{0}\u{7f}";
        let text = line(|| {
            tracing::warn!(VKMPS_NAME = hostile, error = %hostile, "refused: {hostile}");
        });
        assert!(
            !text.contains(char::is_control) && !text.contains('\u{202e}'),
            "{text:?}"
        );
        assert_eq!(text.matches("forged").count(), 3);
    }

    #[test]
    fn other_languages_are_left_as_they_are() {
        let text = line(|| tracing::info!(VKMPS_NAME = "Größe 計算", "é"));
        assert_eq!(text, "é name=\"Größe 計算\"");
    }
}
