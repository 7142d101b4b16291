//! Keeps an engine running, and compilers at hand.

use crate::compilers::Compilers;
use crate::ledger::Ledger;
use crate::liveness::{Liveness, Pulse};
use crate::process::{Delivery, Launcher, Process, describe};
use crate::recorder::Recorder;
use crate::resources::Resources;
use crate::statistics::Work;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use vkmps_broker::{Input, Source};
use vkmps_ipc::SystemError;
use vkmps_ipc::socket::Seqpacket;
use vkmps_ipc::spawn::{Program, Report};
use vkmps_protocol::engine::{FromEngine, ToEngine};
use vkmps_protocol::handle::{ProgramHash, SessionId};
use vkmps_protocol::{decode, encode};

/// The processes that run drivers. Its methods return what the broker must hear of.
#[derive(Debug)]
pub(crate) struct Supervisor {
    launcher: Launcher,
    ledger: Ledger,
    recorder: Recorder,
    engine: Engine,
    /// Engines that died young in a row.
    failures: u32,
    /// Engines started after the first one.
    restarts: u32,
    /// The longest that an engine may take to answer.
    engine_timeout: Duration,
    /// Whether the daemon leaves and no engine is started any more.
    stopping: bool,
    compilers: Compilers,
}

#[derive(Debug)]
enum Engine {
    /// None runs; one is due then.
    Due(Instant),
    /// Asked for, maybe serving.
    Running {
        process: Process,
        /// Since it has a device.
        liveness: Option<Liveness>,
    },
    /// None will be started any more.
    Off,
}

impl Supervisor {
    /// No process yet.
    pub(crate) fn new(
        launcher: Launcher,
        ledger: Ledger,
        recorder: Recorder,
        engine_timeout: Duration,
    ) -> Self {
        Self {
            launcher,
            ledger,
            recorder,
            engine: Engine::Due(Instant::now()),
            failures: 0,
            restarts: 0,
            engine_timeout,
            stopping: false,
            compilers: Compilers::default(),
        }
    }

    /// Sends a message to the engine.
    pub(crate) fn to_engine(&self, message: &ToEngine, resources: &Resources) -> Delivery {
        let Engine::Running { process, .. } = &self.engine else {
            return Delivery::Gone;
        };
        let Some(descriptors) = resources.for_engine(message) else {
            tracing::error!(?message, "a message lacks its descriptors, dropping it");
            return Delivery::Sent;
        };
        match encode(message) {
            Ok(bytes) => say(process, &self.ledger, &bytes, &descriptors),
            Err(error) => {
                tracing::error!(%error, "a message is too long for the engine, dropping it");
                Delivery::Sent
            }
        }
    }

    /// The engine's socket, to wait until it can be written to.
    pub(crate) fn engine_socket(&self) -> Option<Arc<AsyncFd<Seqpacket>>> {
        match &self.engine {
            Engine::Running { process, .. } => Some(process.socket()),
            Engine::Due(_) | Engine::Off => None,
        }
    }

    /// Whether all is as it should be: the engine answers, or one is on its way.
    pub(crate) fn is_alive(&self) -> bool {
        match &self.engine {
            Engine::Running {
                liveness: Some(liveness),
                ..
            } => liveness.is_alive(),
            _ => true,
        }
    }

    /// The engine's process, once there is one.
    pub(crate) fn engine_pid(&self) -> Option<u32> {
        match &self.engine {
            Engine::Running { process, .. } => process.pid(),
            Engine::Due(_) | Engine::Off => None,
        }
    }

    /// Engines started after the first one.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// What the engine has done for a session.
    pub(crate) fn work(&self, slot: u32, session: SessionId) -> Work {
        self.ledger.work(slot, session)
    }

    /// Batches that the device was ever given.
    pub(crate) fn batches(&self) -> u64 {
        self.ledger.batches()
    }

    /// A descriptor that reads what the engines record.
    pub(crate) fn recorder(&self) -> std::io::Result<OwnedFd> {
        self.recorder.reader()
    }

    /// Sets how long an engine may take to answer; of the present one with its next answer.
    pub(crate) fn set_engine_timeout(&mut self, timeout: Duration) {
        self.engine_timeout = timeout;
        if let Engine::Running {
            liveness: Some(liveness),
            ..
        } = &mut self.engine
        {
            liveness.set_timeout(timeout);
        }
    }

    /// Ends an engine that does not do its part; a new one follows.
    pub(crate) fn kill_engine(&mut self, why: &str) {
        if let Engine::Running { process, .. } = &mut self.engine {
            tracing::error!(why, "killing the engine");
            process.kill();
        }
    }

    /// The daemon leaves: no engine is started any more.
    pub(crate) fn stop(&mut self) {
        if let Engine::Due(_) = self.engine {
            self.engine = Engine::Off;
        }
        self.stopping = true;
    }

    /// Gives a module to a compiler.
    pub(crate) fn compile(
        &mut self,
        hash: ProgramHash,
        source: Source,
        resources: &Resources,
    ) -> Option<Input> {
        let launcher = &mut self.launcher;
        self.compilers.compile(hash, source, resources, launcher)
    }

    /// A packet of one of the processes.
    pub(crate) fn packet(
        &mut self,
        id: u64,
        packet: &[u8],
        descriptors: Vec<OwnedFd>,
        resources: &mut Resources,
    ) -> Option<Input> {
        if let Engine::Running { process, liveness } = &mut self.engine
            && process.id() == id
        {
            let message = decode::<FromEngine>(packet).ok();
            let Some(message) = message.filter(|m| m.descriptors() == descriptors.len()) else {
                self.kill_engine("it sent what is no message");
                return None;
            };
            let now = Instant::now();
            match (&message, liveness) {
                (FromEngine::Pong { nonce }, Some(liveness)) => {
                    liveness.answered(*nonce, now);
                    return None;
                }
                (FromEngine::Ready { .. }, liveness @ None) => {
                    *liveness = Some(Liveness::new(self.engine_timeout, now));
                }
                _ => {}
            }
            // An exported chunk's descriptor is closed here: taking memory over to a new engine is a later issue.
            return Some(Input::Engine(message));
        }
        self.compilers.packet(id, packet, descriptors, resources)
    }

    /// A process closed its control socket.
    pub(crate) fn closed(&mut self, id: u64) {
        if let Some(process) = self.process(id) {
            process.closed();
        }
    }

    /// The spawner has news.
    pub(crate) fn report(&mut self, report: Report) {
        match report {
            Report::Started { id, pid, pidfd } => {
                tracing::debug!(id, pid, "process started");
                if let Some(process) = self.process(id) {
                    process.started(pid, pidfd);
                }
            }
            Report::NotStarted { id, text } => {
                if let Some(process) = self.process(id) {
                    process.ended(text);
                }
            }
            Report::Exited { id, status } => {
                if let Some(process) = self.process(id) {
                    process.ended(describe(status));
                }
            }
        }
    }

    /// When [`Self::settle`] has something to do without any news.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let engine = match &self.engine {
            Engine::Due(when) => Some(*when),
            Engine::Running { process, liveness } => {
                let own = match liveness {
                    Some(liveness) => liveness.deadline(),
                    None => Some(Instant::now() + remaining(START_TIME, process)),
                };
                process.deadline().or(own)
            }
            Engine::Off => None,
        };
        engine
            .into_iter()
            .chain(self.compilers.next_deadline())
            .min()
    }

    /// Buries the dead, kills the late, starts the due.
    pub(crate) fn settle(&mut self) -> Vec<Input> {
        let now = Instant::now();
        let mut inputs = self.compilers.settle(now);
        if let Engine::Running { process, liveness } = &mut self.engine {
            if let Some(liveness) = liveness {
                match liveness.feel(now) {
                    Pulse::Ask(nonce) => {
                        let question = encode(&ToEngine::Ping { nonce });
                        let delivery =
                            question.map(|question| say(process, &self.ledger, &question, &[]));
                        match delivery {
                            Ok(Delivery::Sent) => liveness.asked(now),
                            _ => liveness.busy(now),
                        }
                    }
                    Pulse::Lost => {
                        tracing::error!("the engine does not answer, killing it");
                        // One that cannot even die is given up all the same.
                        process.ended("it did not answer".to_owned());
                        process.kill();
                    }
                    Pulse::Steady => {}
                }
            }
            if liveness.is_none() && process.age() >= START_TIME && process.deadline().is_none() {
                tracing::error!("the engine did not start in time, killing it");
                process.ended(format!(
                    "it did not start within {} s",
                    START_TIME.as_secs()
                ));
                process.kill();
            }
            if let Some(reason) = process.epitaph(now) {
                inputs.push(self.bury_engine(reason));
            }
        }
        if let Engine::Due(when) = self.engine
            && when <= now
        {
            inputs.extend(self.start_engine());
        }
        inputs
    }

    fn start_engine(&mut self) -> Option<Input> {
        let launched = self.launcher.launch(Program::Engine).and_then(|process| {
            let too_long = SystemError {
                call: "encode",
                errno: nix::errno::Errno::EMSGSIZE,
            };
            let start = encode(&ToEngine::Start).map_err(|_| too_long)?;
            let memory = [self.ledger.descriptor(), self.recorder.descriptor()];
            process.send(&start, &memory);
            Ok(process)
        });
        match launched {
            Ok(process) => {
                self.engine = Engine::Running {
                    process,
                    liveness: None,
                };
                None
            }
            Err(error) => Some(self.engine_failed(error.to_string(), Duration::ZERO)),
        }
    }

    fn bury_engine(&mut self, reason: String) -> Input {
        let age = match &self.engine {
            Engine::Running { process, .. } => process.age(),
            Engine::Due(_) | Engine::Off => Duration::ZERO,
        };
        self.engine_failed(reason, age)
    }

    fn engine_failed(&mut self, reason: String, age: Duration) -> Input {
        self.failures = if age >= GROWN_UP {
            0
        } else {
            self.failures.saturating_add(1)
        };
        self.engine = match self.stopping {
            true => Engine::Off,
            false => {
                self.restarts = self.restarts.saturating_add(1);
                Engine::Due(Instant::now() + back_off(self.failures))
            }
        };
        let suspects = self.ledger.close_the_books().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the ledger, ignoring");
            Vec::new()
        });
        Input::EngineGone { reason, suspects }
    }

    fn process(&mut self, id: u64) -> Option<&mut Process> {
        let engine = match &mut self.engine {
            Engine::Running { process, .. } => Some(process),
            Engine::Due(_) | Engine::Off => None,
        };
        self.compilers
            .processes()
            .chain(engine)
            .find(|process| process.id() == id)
    }
}

/// Sends an engine a message after the first one.
fn say(
    engine: &Process,
    ledger: &Ledger,
    message: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Delivery {
    let delivery = engine.send(message, descriptors);
    if delivery == Delivery::Sent {
        ledger.said();
    }
    delivery
}

fn remaining(limit: Duration, process: &Process) -> Duration {
    limit.saturating_sub(process.age())
}

/// 0.1 s, doubling to 5 s.
fn back_off(failures: u32) -> Duration {
    let doubled = FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_BACK_OFF)
}

const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
/// An engine that lived so long did not die of its start.
const GROWN_UP: Duration = Duration::from_secs(10);
/// From exec to an open device.
const START_TIME: Duration = Duration::from_secs(30);
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_limit() {
        let seconds: Vec<f32> = (0..9).map(|n| back_off(n).as_secs_f32()).collect();
        assert_eq!(seconds, [0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]);
        assert_eq!(back_off(u32::MAX), LONGEST_BACK_OFF);
    }
}
