//! Text of others, made harmless for a terminal.

use std::fmt::Write;

/// The text without what a terminal would act on: whoever chose it may be hostile. Reversible, since `\` is escaped too.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_control() || is_invisible(c) => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// As [`escape`]; a dash for nothing.
pub(crate) fn escape_or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => escape(text),
    }
}

/// Marks that reorder, join or break what is shown around them.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        assert_eq!(
            escape("a\x1b[2Jb\n\t\r\x07\u{9b}"),
            "a\\u{1b}[2Jb\\n\\t\\r\\u{7}\\u{9b}"
        );
        assert_eq!(
            escape("evil\u{202e}txt\u{200b}"),
            "evil\\u{202e}txt\\u{200b}"
        );
        assert_eq!(escape("C:\\n"), "C:\\\\n");
        assert_eq!(escape("träumer 日本"), "träumer 日本");
    }

    #[test]
    fn nothing_is_a_dash() {
        assert_eq!(escape_or_dash(""), "-");
        assert_eq!(escape_or_dash("x"), "x");
    }
}
