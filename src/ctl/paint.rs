//! Colours, for those who want them.

use std::env;
use std::io::IsTerminal;

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Always,
    Never,
}

impl Paint {
    /// On a terminal that can and unless `NO_COLOR` says no.
    pub(crate) fn of_output() -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        match std::io::stdout().is_terminal() && !unwanted && !dumb {
            true => Self::Always,
            false => Self::Never,
        }
    }

    pub(crate) fn heading(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// The colour says how good a daemon's state is.
    pub(crate) fn state(self, state: &str, text: &str) -> String {
        match state {
            "serving" | "ready" => self.wrap("32", text),
            "failed" => self.wrap("1;31", text),
            _ => self.wrap("33", text),
        }
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Never => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_added_only_when_wanted() {
        assert_eq!(Paint::Never.state("failed", "x"), "x");
        assert_eq!(Paint::Always.state("failed", "x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(Paint::Always.state("serving", "x"), "\x1b[32mx\x1b[0m");
        assert_eq!(Paint::Always.heading("x"), "\x1b[1mx\x1b[0m");
    }
}
