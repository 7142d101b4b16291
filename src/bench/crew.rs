//! Worker processes: started together, released together.
//!
//! A worker is this program again with the hidden command `worker`. It prepares, says `ready` on its standard output,
//! gets a line from its standard input and answers it with lines of JSON. So no process start is ever timed unless a
//! scenario means to.

use crate::bench::Bench;
use crate::clock;
use crate::error::Error;
use crate::worker::Task;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

/// Some worker processes, killed when dropped.
pub(crate) struct Crew {
    members: Vec<Member>,
}

/// One worker process.
pub(crate) struct Member {
    /// Holds the pipe of orders; waiting for it closes that.
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Crew {
    /// Starts a process per task and returns when all have prepared.
    pub(crate) fn prepare(bench: &Bench, tasks: &[Task]) -> Result<Self, Error> {
        let tasks = tasks.iter().map(|task| (task, None));
        Self::prepare_as(bench, tasks)
    }

    /// The same with processes of other users, which only root may start.
    pub(crate) fn prepare_as<'a>(
        bench: &Bench,
        tasks: impl IntoIterator<Item = (&'a Task, Option<u32>)>,
    ) -> Result<Self, Error> {
        let members = tasks
            .into_iter()
            .map(|(task, uid)| Member::start_as(bench, task, uid))
            .collect::<Result<_, _>>()?;
        let mut crew = Self { members };
        for member in &mut crew.members {
            member.expect_ready()?;
        }
        Ok(crew)
    }

    /// Lets all begin at the same moment and returns what each found.
    pub(crate) fn measure<T: DeserializeOwned>(self) -> Result<Vec<T>, Error> {
        self.measure_while(|| Ok(()))
    }

    /// The same, doing something meanwhile.
    pub(crate) fn measure_while<T: DeserializeOwned>(
        mut self,
        act: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Vec<T>, Error> {
        let start_ns = clock::now_ns() + LEAD_NS;
        for member in &mut self.members {
            member.order(&start_ns)?;
        }
        act()?;
        let results = self
            .members
            .iter_mut()
            .map(Member::answer)
            .collect::<Result<_, _>>()?;
        for member in &mut self.members {
            member.finish()?;
        }
        Ok(results)
    }
}

impl Member {
    pub(crate) fn start(bench: &Bench, task: &Task) -> Result<Self, Error> {
        Self::start_as(bench, task, None)
    }

    pub(crate) fn start_as(bench: &Bench, task: &Task, uid: Option<u32>) -> Result<Self, Error> {
        let mut command = bench.command(bench.executable());
        command.envs(task.environment());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = command
            .arg("worker")
            .arg(serde_json::to_string(task)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Io("starting a worker process", source))?;
        let answers = child.stdout.take().ok_or(Error::WorkerDied)?;
        Ok(Self {
            child,
            answers: BufReader::new(answers),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn expect_ready(&mut self) -> Result<(), Error> {
        match self.answer::<String>()?.as_str() {
            READY => Ok(()),
            _ => Err(Error::WorkerDied),
        }
    }

    pub(crate) fn order(&mut self, order: &impl Serialize) -> Result<(), Error> {
        let line = serde_json::to_string(order)?;
        let orders = self.child.stdin.as_mut().ok_or(Error::WorkerDied)?;
        writeln!(orders, "{line}").map_err(|source| Error::Io("writing to a worker", source))
    }

    /// The next line it says.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        if self.answers.buffer().is_empty() {
            self.await_output()?;
        }
        let mut line = String::new();
        let length = self.answers.read_line(&mut line);
        match length.map_err(|source| Error::Io("reading from a worker", source))? {
            0 => Err(Error::WorkerDied),
            _ => Ok(serde_json::from_str(&line)?),
        }
    }

    /// Tells it that there are no more orders and waits for its end.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let status = self
            .child
            .wait()
            .map_err(|source| Error::Io("waiting for a worker", source))?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::WorkerDied)
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool, Error> {
        let ended = self.child.try_wait();
        ended
            .map(|status| status.is_some())
            .map_err(|source| Error::Io("looking after a worker", source))
    }

    /// Whether it says something within this time.
    pub(crate) fn answers_within(&self, patience: Duration) -> Result<bool, Error> {
        let mut polled = [PollFd::new(
            self.answers.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(Error::System("waiting for a worker", error)),
        }
    }

    fn await_output(&self) -> Result<(), Error> {
        let mut polled = [PollFd::new(
            self.answers.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        let timeout = PollTimeout::try_from(SILENCE_S * 1000).unwrap_or(PollTimeout::MAX);
        loop {
            match poll(&mut polled, timeout) {
                Ok(0) => return Err(Error::WorkerSilent(SILENCE_S)),
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(Error::System("waiting for a worker", error)),
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The worker's side: what it says and hears.
pub(crate) mod inside {
    use super::*;

    /// Says that everything is prepared.
    pub(crate) fn ready() -> Result<(), Error> {
        say(&READY)
    }

    pub(crate) fn say(answer: &impl Serialize) -> Result<(), Error> {
        let mut output = std::io::stdout().lock();
        writeln!(output, "{}", serde_json::to_string(answer)?)
            .and_then(|()| output.flush())
            .map_err(|source| Error::Io("writing to the parent", source))
    }

    /// The next order; `None` when the parent wants no more.
    pub(crate) fn hear<T: DeserializeOwned>() -> Result<Option<T>, Error> {
        let mut line = String::new();
        let length = std::io::stdin().lock().read_line(&mut line);
        match length.map_err(|source| Error::Io("reading from the parent", source))? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }

    /// Says ready and returns at the moment that all workers begin.
    pub(crate) fn line_up() -> Result<(), Error> {
        ready()?;
        let start_ns = hear::<u64>()?.ok_or(Error::WorkerDied)?;
        clock::sleep_until(start_ns);
        Ok(())
    }
}

const READY: &str = "ready";
/// From the order to begin until the beginning: long enough to reach every worker, nanoseconds.
const LEAD_NS: u64 = 30_000_000;
/// A worker that says nothing for so long hangs, seconds.
const SILENCE_S: u64 = 300;
