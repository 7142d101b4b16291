//! Compiler processes: started on demand, one job at a time each, killed when late, gone when idle.

use crate::journal;
use crate::process::{Delivery, Launcher, Process};
use crate::resources::Resources;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::time::Instant;
use vkmps_broker::{CompileFailure, Input, Source};
use vkmps_ipc::spawn::Program;
use vkmps_protocol::engine::{FromCompiler, ToCompiler};
use vkmps_protocol::handle::ProgramHash;
use vkmps_protocol::{decode, encode};

/// All of them; the broker sees to it that no more than [`vkmps_broker::MAX_COMPILERS`] have a job.
#[derive(Debug, Default)]
pub(crate) struct Compilers {
    compilers: Vec<Compiler>,
}

/// At work, or idle since.
#[derive(Debug)]
struct Compiler {
    process: Process,
    job: Option<Job>,
    idle_since: Instant,
}

#[derive(Debug)]
struct Job {
    hash: ProgramHash,
    /// Whether the compiler has begun; before that its end says nothing about the module.
    taken: bool,
    /// To begin, then to end.
    deadline: Instant,
}

impl Compilers {
    /// Gives a module to a compiler that is idle or new.
    pub(crate) fn compile(
        &mut self,
        hash: ProgramHash,
        source: Source,
        resources: &Resources,
        launcher: &mut Launcher,
    ) -> Option<Input> {
        let failed = |text: String| {
            Some(Input::CompileFailed {
                hash,
                failure: CompileFailure::NotStarted { text },
            })
        };
        let Source {
            entry,
            module_bytes,
            specialization,
        } = source;
        let message = ToCompiler::Compile {
            hash,
            entry,
            module_bytes,
            specialization,
        };
        let (Ok(bytes), Some(module)) = (encode(&message), resources.module(hash)) else {
            return failed("the module is not there".to_owned());
        };
        // An idle one may have died a moment ago; its end is reported later.
        for compiler in self
            .compilers
            .iter_mut()
            .filter(|compiler| compiler.job.is_none())
        {
            if compiler.process.send(&bytes, &[module]) == Delivery::Sent {
                compiler.job = Some(Job::new(hash));
                return None;
            }
        }
        let process = match Self::start(&bytes, module, launcher) {
            Ok(process) => process,
            Err(text) => return failed(text),
        };
        let job = Some(Job::new(hash));
        self.compilers.push(Compiler {
            process,
            job,
            idle_since: Instant::now(),
        });
        None
    }

    /// A new compiler with its first job. One that died before it was given the job says nothing about the module: it
    /// is given to another one.
    fn start(
        job: &[u8],
        module: BorrowedFd<'_>,
        launcher: &mut Launcher,
    ) -> Result<Process, String> {
        for _ in 0..START_ATTEMPTS {
            let process = launcher
                .launch(Program::Compiler)
                .map_err(|error| error.to_string())?;
            if process.send(job, &[module]) == Delivery::Sent {
                return Ok(process);
            }
            tracing::warn!("a compiler was gone before it was given its module");
        }
        Err("the compiler does not listen".to_owned())
    }

    /// A packet of one of the compilers, if it is from one.
    pub(crate) fn packet(
        &mut self,
        id: u64,
        packet: &[u8],
        descriptors: Vec<OwnedFd>,
        resources: &mut Resources,
    ) -> Option<Input> {
        let compiler = self
            .compilers
            .iter_mut()
            .find(|compiler| compiler.process.id() == id)?;
        let message = decode::<FromCompiler>(packet).ok();
        let message = message.filter(|message| message.descriptors() == descriptors.len());
        let job = compiler.job.as_mut();
        if let (Some(FromCompiler::Taken { hash }), Some(job)) = (&message, job)
            && job.hash == *hash
        {
            job.taken = true;
            // What came before was the machine's time, or the driver's: a module is judged by its own.
            job.deadline = Instant::now() + COMPILE_TIME;
            return None;
        }
        let job = compiler.job.as_ref().map(|job| job.hash);
        let input = match message {
            Some(FromCompiler::Compiled { hash, interface }) if job == Some(hash) => {
                let files: [OwnedFd; 2] = descriptors.try_into().ok()?;
                resources.keep_compiled(hash, files);
                Input::Compiled { hash, interface }
            }
            Some(FromCompiler::Refused { hash, code, text }) if job == Some(hash) => {
                Input::CompileFailed {
                    hash,
                    failure: CompileFailure::Refused { code, text },
                }
            }
            _ => {
                tracing::error!("a compiler sent what is no answer, killing it");
                compiler.process.kill();
                return None;
            }
        };
        compiler.job = None;
        compiler.idle_since = Instant::now();
        Some(input)
    }

    /// All processes.
    pub(crate) fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.compilers
            .iter_mut()
            .map(|compiler| &mut compiler.process)
    }

    /// When [`Self::settle`] has something to do without any news.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.compilers.iter().flat_map(|compiler| {
            let limit = match &compiler.job {
                Some(job) => job.deadline,
                None => compiler.idle_since + IDLE_TIME,
            };
            [Some(limit), compiler.process.deadline()]
        });
        deadlines.flatten().min()
    }

    /// Buries the dead, kills the late, lets the idle go.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<Input> {
        let mut inputs = Vec::new();
        self.compilers.retain_mut(|compiler| {
            if let Some(epitaph) = compiler.process.epitaph(now) {
                let Some(job) = compiler.job.take() else {
                    return false;
                };
                let failure = if job.taken {
                    journal::compiler_died(&epitaph);
                    CompileFailure::Crashed
                } else if compiler.process.was_started() {
                    let text = format!("compilers die before they begin: {epitaph}");
                    journal::compiler_died(&text);
                    CompileFailure::Unread { text }
                } else {
                    CompileFailure::NotStarted { text: epitaph }
                };
                inputs.push(Input::CompileFailed {
                    hash: job.hash,
                    failure,
                });
                return false;
            }
            match &compiler.job {
                Some(job) if job.deadline <= now => {
                    compiler.process.kill();
                    let failure = if job.taken {
                        CompileFailure::TimedOut
                    } else {
                        let text = format!("no compiler begins within {} s", TAKE_TIME.as_secs());
                        tracing::warn!(
                            "a compiler does not begin, giving its module to another one"
                        );
                        CompileFailure::Unread { text }
                    };
                    inputs.push(Input::CompileFailed {
                        hash: job.hash,
                        failure,
                    });
                    false
                }
                Some(_) => true,
                // Its control socket closes with it, at which it exits.
                None => now < compiler.idle_since + IDLE_TIME,
            }
        });
        inputs
    }
}

impl Job {
    fn new(hash: ProgramHash) -> Self {
        Self {
            hash,
            taken: false,
            deadline: Instant::now() + TAKE_TIME,
        }
    }
}

/// From being given a module to beginning with it, on a busy machine and with a driver to load.
const TAKE_TIME: Duration = Duration::from_secs(20);
/// One compilation, wall clock: drivers need seconds for the largest modules.
const COMPILE_TIME: Duration = Duration::from_secs(20);
/// A compiler with a driver loaded is tens of megabytes.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Somebody may kill one compiler at the wrong moment; two in a row will not work the third time either.
const START_ATTEMPTS: u32 = 2;
