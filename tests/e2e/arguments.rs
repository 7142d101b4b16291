//! The command line.

use std::path::PathBuf;

/// What to do.
#[derive(Debug)]
pub(crate) enum Verb {
    /// A step of a machine's boot; this program calls itself so.
    Stage(Vec<String>),
    /// Name the checks.
    List,
    /// Run checks.
    Run(Plan),
}

/// Which checks to run, and on what.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Folder of the packages.
    pub(crate) packages: PathBuf,
    /// Checks whose name has one of these in it; all if there are none.
    pub(crate) filters: Vec<String>,
    /// Machines at a time.
    pub(crate) jobs: usize,
    /// Run a shell on a machine with the packages installed instead of checks.
    pub(crate) shell: bool,
}

/// Reads it, or says how it goes.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Verb, &'static str> {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == STAGE).is_some() {
        return Ok(Verb::Stage(arguments.collect()));
    }
    let mut packages = None;
    let mut plan = Plan {
        packages: PathBuf::new(),
        filters: Vec::new(),
        jobs: 2,
        shell: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => return Ok(Verb::List),
            "--shell" => plan.shell = true,
            "--packages" => packages = arguments.next().map(PathBuf::from),
            "--jobs" => {
                let jobs = arguments.next().and_then(|number| number.parse().ok());
                plan.jobs = jobs.filter(|jobs| *jobs > 0).ok_or(USAGE)?;
            }
            filter if !filter.starts_with('-') => plan.filters.push(argument),
            _ => return Err(USAGE),
        }
    }
    plan.packages = packages.ok_or(USAGE)?;
    Ok(Verb::Run(plan))
}

/// First argument of the steps of a boot.
pub(crate) const STAGE: &str = "--stage";

const USAGE: &str = "\
usage: vkmps-e2e --packages FOLDER [--jobs N] [FILTER]...   checks whose names contain a filter
       vkmps-e2e --packages FOLDER --shell                  a shell on a machine with the packages installed
       vkmps-e2e --list";
