//! `--check-sandbox`: vkmpsd, an engine and a compiler close their sandboxes as for serving, then try to get out.

use crate::config::{Config, Options};
use crate::happening::Happening;
use crate::journal;
use crate::process::{Launcher, Process};
use crate::startup::{RunError, commands, reach, watch_spawner};
use crate::watched::watch;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use vkmps_ipc::spawn::{Program, Report, Spawner};
use vkmps_protocol::decode;
use vkmps_sandbox::probe::{EXEC, Probes};
use vkmps_sandbox::{Enclosed, Role, Unprivileged};

/// Prints a line for each attempt of each process.
///
/// # Errors
/// `Leaks` when anything succeeded, or a process did not come to the end.
pub(crate) fn run(options: &Options, config: &Config) -> Result<(), RunError> {
    let mut commands = commands(options, config)?;
    for command in [&mut commands.engine, &mut commands.compiler] {
        command.arguments.push("--check-sandbox".to_owned());
    }
    let _log = journal::start(options, config)?;
    let reach = reach(options, None);
    let probes = Probes::prepare(Role::Daemon, &reach);
    let unprivileged = Unprivileged::begin(Role::Daemon, &config.warn_only())?;
    let spawner = Spawner::fork(&commands)?;
    let enclosed = unprivileged.enclose(&reach)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut results = Results::default();
    runtime
        .map_err(RunError::Runtime)?
        .block_on(check_all(spawner, enclosed, &mut results))?;
    // Last: what succeeds with its last attempt is another program, which ends with status 1.
    probes.run(|finding| {
        let outcome = finding.outcome;
        results.add(
            "vkmpsd",
            &finding.probe,
            &outcome.to_string(),
            outcome.is_good(),
        );
    });
    match results.bad {
        0 => Ok(()),
        bad => Err(RunError::Leaks(bad)),
    }
}

async fn check_all(
    spawner: Spawner,
    enclosed: Enclosed,
    results: &mut Results,
) -> Result<(), RunError> {
    let (happenings, mut happened) = mpsc::channel(1);
    let spawner = Arc::new(watch(spawner, Interest::READABLE).map_err(RunError::Runtime)?);
    tokio::spawn(watch_spawner(spawner.clone(), happenings.clone()));
    let mut launcher = Launcher::new(spawner, happenings);
    let report = enclosed.seal()?;
    for warning in &report.warnings {
        results.add("vkmpsd", "self-test", warning, false);
    }
    if report.warnings.is_empty() {
        results.add("vkmpsd", "self-test", "passed", true);
    }
    results.add("vkmpsd", "landlock", &report.extent.to_string(), true);
    let mut running = HashMap::new();
    for (name, program) in [("engine", Program::Engine), ("compiler", Program::Compiler)] {
        let process = launcher.launch(program)?;
        let subject = Subject {
            name,
            finished: false,
            process,
        };
        running.insert(subject.process.id(), subject);
    }
    let deadline = Instant::now() + PATIENCE;
    while !running.is_empty() {
        let Ok(Some(happening)) = timeout_at(deadline, happened.recv()).await else {
            break;
        };
        match happening {
            Happening::Process { id, packet, .. } => {
                let finding: Option<(String, String, bool)> = decode(&packet).ok();
                if let (Some(subject), Some((probe, outcome, good))) =
                    (running.get_mut(&id), finding)
                {
                    subject.finished |= probe == EXEC;
                    results.add(subject.name, &probe, &outcome, good);
                }
            }
            // After all that it said.
            Happening::ProcessClosed { id } => {
                if let Some(subject) = running.remove(&id).filter(|subject| !subject.finished) {
                    results.add(
                        subject.name,
                        EXEC,
                        "POSSIBLE: it ended without a word",
                        false,
                    );
                }
            }
            Happening::Spawner(Report::NotStarted { id, text }) => {
                if let Some(subject) = running.remove(&id) {
                    results.add(subject.name, "start", &text, false);
                }
            }
            _ => {}
        }
    }
    for subject in running.into_values() {
        results.add(subject.name, "end", "it does not come to the end", false);
    }
    Ok(())
}

/// A process that is checked.
struct Subject {
    name: &'static str,
    /// Its control socket stays open as long as this.
    process: Process,
    /// It told of its last attempt.
    finished: bool,
}

/// What was printed.
#[derive(Debug, Default)]
struct Results {
    bad: usize,
}

impl Results {
    fn add(&mut self, process: &str, probe: &str, outcome: &str, good: bool) {
        self.bad += usize::from(!good);
        println!("{process:<8}  {probe:<28}  {outcome}");
    }
}

/// For all attempts of a process, most of the time for its driver to load.
const PATIENCE: Duration = Duration::from_secs(60);
