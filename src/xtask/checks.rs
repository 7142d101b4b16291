//! `cargo xtask test`: format, lints, build, all tests, the packages on a booted system; the last line says how many passed and failed.

use crate::cargo::{self, Profile};
use crate::{deb, e2e};
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};

/// Runs everything, also after a failure; true if nothing failed.
pub(crate) fn run() -> io::Result<bool> {
    let mut tally = Tally::default();
    let fmt = ["fmt", "--all", "--check"];
    tally.step(
        "cargo fmt --all --check",
        cargo::run(&mut cargo::command(fmt))?,
    );
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    tally.step(
        "cargo clippy --workspace --all-targets",
        cargo::run(&mut cargo::command(clippy))?,
    );
    // First: tests start the programs that this leaves, and `cargo test` builds neither those nor the C library.
    let built = cargo::build(Profile::Debug)?;
    tally.step("cargo build --workspace", built);
    if built {
        tests(&mut tally)?;
        packages(&mut tally)?;
    }
    for name in &tally.failed_steps {
        println!("FAILED: {name}");
    }
    println!("{}", tally.line());
    Ok(tally.failed() == 0)
}

/// All tests of the workspace, among them the C programs and the fuzz targets of the crate `tests`.
fn tests(tally: &mut Tally) -> io::Result<()> {
    // --show-output, because what a passing test says about its being skipped is swallowed otherwise.
    let arguments = [
        "test",
        "--workspace",
        "--no-fail-fast",
        "--",
        "--show-output",
    ];
    let mut command = cargo::command(arguments);
    follow(tally, "cargo test --workspace", &mut command)
}

/// The packages, and what they do on a booted system; last, as it takes all the rest.
fn packages(tally: &mut Tally) -> io::Result<()> {
    let made = deb::run();
    if let Err(error) = &made {
        println!("cargo xtask deb: {error}");
    }
    tally.step("cargo xtask deb", made.is_ok_and(|silent| silent));
    // What lintian has to say does not keep them from being tried.
    match deb::build() {
        Ok(packages) => {
            let mut command = e2e::command(&packages, &[])?;
            follow(tally, "cargo xtask e2e", &mut command)
        }
        // Just said.
        Err(_) => Ok(()),
    }
}

/// Runs a command, shows what it prints and takes the results from it.
fn follow(tally: &mut Tally, name: &'static str, command: &mut Command) -> io::Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let before = tally.failed_tests;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if !line.is_empty() && line != "successes:" {
                println!("{line}");
            }
            tally.read(&line);
        }
    }
    let succeeded = child.wait()?.success();
    // A failed test was counted as such; anything else, as a test that does not compile, is a failure of its own.
    tally.step(name, succeeded || tally.failed_tests > before);
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed_tests: u64,
    /// Tests that their harness did not run.
    ignored: u64,
    /// Tests that said `SKIPPED:`; their harness counts them as passed.
    skipped: u64,
    failed_steps: Vec<&'static str>,
}

impl Tally {
    fn step(&mut self, name: &'static str, succeeded: bool) {
        if !succeeded {
            self.failed_steps.push(name);
        }
    }

    /// Takes what a line of `cargo test` says.
    fn read(&mut self, line: &str) {
        if line.starts_with("SKIPPED:") {
            self.skipped += 1;
        }
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count
                .split_once(' ')
                .map(|(number, what)| (number.parse::<u64>(), what))
            {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed_tests += number,
                Some((Ok(number), "ignored")) => self.ignored += number,
                _ => {}
            }
        }
    }

    fn failed(&self) -> u64 {
        self.failed_tests + self.failed_steps.len() as u64
    }

    fn line(&self) -> String {
        let passed = self.passed.saturating_sub(self.skipped);
        let line = format!("{passed} passed, {} failed", self.failed());
        match self.skipped + self.ignored {
            0 => line,
            skipped => format!("{line}, {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_add_up() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.read("SKIPPED: needs a GPU");
        tally
            .read("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.step("cargo fmt", false);
        assert_eq!(tally.line(), "6 passed, 4 failed, 2 skipped");
    }

    #[test]
    fn nothing_skipped_is_not_mentioned() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(tally.line(), "1 passed, 0 failed");
    }
}
