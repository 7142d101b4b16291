//! The steps between this program and a machine's process 1, each of them this program, started by the one before.

use super::cgroup::Cgroup;
use super::{BootError, failed, root};
use crate::arguments::STAGE;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getppid, setsid};
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What a machine is made of.
#[derive(Debug)]
pub(super) struct Plan {
    /// Its folder in the world.
    pub(super) folder: PathBuf,
    /// Its part of the control groups.
    pub(super) cgroup: PathBuf,
    /// What it sees at [`root::STAGING`].
    pub(super) staging: PathBuf,
    /// What its root is laid over, upper first.
    pub(super) layers: Vec<PathBuf>,
}

impl Plan {
    /// The command that becomes the machine, as the child of a process that ends with it.
    pub(super) fn command(&self) -> Result<Command, BootError> {
        let mut command = own(ENTER)?;
        command.arg(std::process::id().to_string());
        command.args(self.arguments()).stdin(Stdio::null());
        Ok(command)
    }

    fn arguments(&self) -> impl Iterator<Item = &Path> {
        [&self.folder, &self.cgroup, &self.staging]
            .into_iter()
            .chain(&self.layers)
            .map(PathBuf::as_path)
    }

    fn parse(arguments: &[String]) -> Result<Self, BootError> {
        let [folder, cgroup, staging, layers @ ..] = arguments else {
            return Err(BootError::Unable(
                "a stage without its arguments".to_owned(),
            ));
        };
        Ok(Self {
            folder: folder.into(),
            cgroup: cgroup.into(),
            staging: staging.into(),
            layers: layers.iter().map(PathBuf::from).collect(),
        })
    }
}

/// Takes one step; comes back only to say what went wrong.
pub(crate) fn stage(arguments: &[String]) -> ExitCode {
    let outcome = match arguments {
        [stage, parent, rest @ ..] if stage == ENTER => enter(parent, rest),
        [stage, rest @ ..] if stage == ROOT => {
            Plan::parse(rest).and_then(|plan| root::become_init(&plan))
        }
        _ => Err(BootError::Unable("no such stage".to_owned())),
    };
    let Err(error) = outcome;
    eprintln!("vkmps-e2e: {}", crate::runner::chain(&error));
    ExitCode::FAILURE
}

/// Joins the machine's control group and makes its namespaces.
fn enter(parent: &str, arguments: &[String]) -> Result<Infallible, BootError> {
    // However this program ends, its machines end with it.
    set_pdeathsig(Signal::SIGKILL).map_err(failed("prctl"))?;
    if getppid().to_string() != parent {
        return Err(BootError::Unable(
            "nobody waits for this machine".to_owned(),
        ));
    }
    // Ctrl-C in a terminal is for the runner, which cleans up.
    setsid().map_err(failed("setsid"))?;
    Cgroup::enter(&Plan::parse(arguments)?.cgroup)?;
    let mut command = Command::new("unshare");
    command
        .args(NAMESPACES)
        .arg("--fork")
        .arg("--kill-child=KILL");
    let next = own(ROOT)?;
    command
        .arg("--")
        .arg(next.get_program())
        .args(next.get_args())
        .args(arguments);
    Err(replaced(&mut command))
}

/// Becomes another program, or says why not.
pub(super) fn replaced(command: &mut Command) -> BootError {
    let source = command.exec();
    BootError::File {
        path: command.get_program().into(),
        source,
    }
}

/// This program, for one stage.
fn own(stage: &str) -> Result<Command, BootError> {
    let path = Path::new("/proc/self/exe");
    let program = std::fs::read_link(path).map_err(super::at(path))?;
    let mut command = Command::new(program);
    command.args([STAGE, stage]);
    Ok(command)
}

const ENTER: &str = "enter";
const ROOT: &str = "root";
const NAMESPACES: [&str; 6] = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net"];
