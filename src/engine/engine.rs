//! The engine: owner of every queue. One thread, one loop, no locks.

use crate::Options;
use crate::builder::Builder;
use crate::device;
use crate::disposal::Disposal;
use crate::idle::{ALARM, BUILDER, CONTROL, WAITER};
use crate::job::{Jobs, Program};
use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::recorder::Recorder;
use crate::scrub::{Blocks, Clean};
use crate::session::Session;
use crate::tally::First;
use crate::waiter::Waiter;
use crate::waker::Waker;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::timerfd::{ClockId as TimerClock, TimerFd, TimerFlags};
use nix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vkmps_gpu::{Batch, Device, DeviceKind, Queue, Word};
use vkmps_ipc::SystemError;
use vkmps_ipc::ring::Completion;
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_protocol::engine::{FromEngine, ToEngine};
use vkmps_protocol::handle::{ChunkId, ProgramHash, SessionId};
use vkmps_protocol::limits::MAX_MESSAGE_BYTES;
use vkmps_sandbox::Enclosed;
use vkmps_scheduler::{Action, Config, JobKey, Lanes, Scheduler, Slices};

/// Why the engine ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// vkmpsd has hung up.
    #[error("vkmpsd is gone")]
    Orphaned,
    /// vkmpsd sent what it never sends.
    #[error("vkmpsd: {0}")]
    Daemon(&'static str),
    /// The process is not confined.
    #[error("{0}; to serve without this check, name it in warn-only of [sandbox]")]
    Sandbox(vkmps_sandbox::Failure),
    /// The driver failed.
    #[error(transparent)]
    Gpu(#[from] vkmps_gpu::Error),
    /// The system failed.
    #[error(transparent)]
    System(#[from] SystemError),
}

impl From<vkmps_sandbox::Failure> for Failure {
    fn from(failure: vkmps_sandbox::Failure) -> Self {
        Self::Sandbox(failure)
    }
}

/// A hardware queue and what is on it.
#[derive(Debug)]
pub(crate) struct QueueState {
    pub(crate) queue: Queue,
    /// Oldest first; their timeline values grow.
    pub(crate) flights: VecDeque<Flight>,
    pub(crate) spare: Vec<Batch>,
    pub(crate) pace: Pace,
}

/// A batch on the device.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) value: u64,
    /// None where there was no memory to record one: the flight only keeps its place in the queue.
    pub(crate) batch: Option<Batch>,
    pub(crate) purpose: Purpose,
    /// Jobs with guarded loops, and where their shaders say that they ended one.
    pub(crate) guarded: Vec<(JobKey, Word)>,
}

/// What a batch is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A level of the scheduler's.
    Level,
    /// Zeroing device memory.
    Scrub(Vec<Clean>),
}

/// Whether the engine was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    /// Just now: what was submitted before that may not have been looked at.
    LastCall,
    /// What was taken in is finished, nothing else is.
    Yes,
}

/// All state of the engine.
pub(crate) struct Engine {
    pub(crate) device: Arc<Device>,
    pub(crate) queues: Vec<QueueState>,
    pub(crate) scheduler: Scheduler,
    pub(crate) jobs: Jobs,
    pub(crate) sessions: Vec<Option<Session>>,
    pub(crate) free_sessions: Vec<usize>,
    pub(crate) names: HashMap<SessionId, usize>,
    /// Sessions whose rings are polled.
    pub(crate) hot: Vec<usize>,
    pub(crate) programs: HashMap<ProgramHash, Arc<Program>>,
    pub(crate) ledger: Ledger,
    pub(crate) recorder: Recorder,
    /// Jobs in levels that are recorded and not submitted.
    pub(crate) firsts: Vec<First>,
    /// Messages of vkmpsd's that were read.
    pub(crate) heard: u64,
    pub(crate) control: Seqpacket,
    pub(crate) message: Box<[u8; MAX_MESSAGE_BYTES]>,
    pub(crate) outbox: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    pub(crate) builder: Builder,
    pub(crate) disposal: Disposal,
    pub(crate) blocks: Blocks,
    /// Whose each chunk is, from the request for it until it is gone.
    pub(crate) chunks: HashMap<ChunkId, SessionId>,
    pub(crate) waiter: Waiter,
    pub(crate) epoll: Epoll,
    /// What the scheduler asked for and was not done yet.
    pub(crate) actions: Vec<Action>,
    /// Sessions whose streams have new records, in the order of their turns.
    pub(crate) arrivals: VecDeque<usize>,
    /// Streams with something to publish.
    pub(crate) touched: Vec<(usize, usize)>,
    /// Closing sessions without jobs.
    pub(crate) gone: Vec<usize>,
    /// A session was closed in this turn.
    pub(crate) closed: bool,
    /// Scratch of the intake.
    pub(crate) payload: Vec<u64>,
    pub(crate) clock: Instant,
    pub(crate) now: Duration,
    /// When something last moved.
    pub(crate) progressed: Duration,
    /// When doorbells were last looked at.
    pub(crate) glanced: Duration,
    /// Loop iterations that an invocation of a shader may do.
    pub(crate) loop_budget: u32,
    /// Whether the device measures time. One of the CPU type has no other clock than ours, and is slow to tell.
    pub(crate) timestamps: bool,
    /// Whether polling is allowed here.
    pub(crate) polls: bool,
    /// Sessions whose clients may poll at the same time.
    pub(crate) pollers: usize,
    pub(crate) waker: Waker,
    /// Scratch of publishing.
    pub(crate) wakes: Vec<Completion>,
    /// Rings shortly before a completion is expected.
    pub(crate) alarm: TimerFd,
    pub(crate) leaving: Leaving,
}

/// Confines itself, opens the device, reports to vkmpsd and serves until it says stop.
pub(crate) fn run(control: Seqpacket, options: &Options) -> Result<(), Failure> {
    let (ledger, recorder) = receive_memory(&control)?;
    let opened = open(options).map_err(|failure| tell_failure(&control, failure))?;
    let (enclosed, device, queues) = opened;
    let mut engine = Engine::new(control, ledger, recorder, device, queues, options)?;
    // Every thread is there, the driver's and ours.
    match enclosed.seal() {
        Ok(report) => engine.tell_ready(report.warnings),
        Err(failure) => return Err(tell_failure(&engine.control, failure.into())),
    }
    let result = engine.serve();
    if let Err(Failure::Gpu(error)) = &result {
        engine.tell(FromEngine::DeviceLost {
            text: error.to_string(),
        });
        engine.flush()?;
    }
    // The process ends here. NVIDIA's driver deadlocks when a thread that used it exits while another destroys the
    // device (580.159), so the device is left to the kernel.
    std::mem::forget(engine);
    result
}

/// The device, opened in a process that is confined except for its system calls.
fn open(options: &Options) -> Result<(Enclosed, Arc<Device>, Vec<Queue>), Failure> {
    let enclosed = options.enclose()?;
    let (device, queues) = device::open(options, options.queues)?;
    Ok((enclosed, device, queues))
}

/// Says to vkmpsd why there will be no engine.
fn tell_failure(control: &Seqpacket, failure: Failure) -> Failure {
    let text = failure.to_string();
    let told = vkmps_protocol::encode(&FromEngine::StartFailed { text })
        .map_err(|_| Failure::Daemon("start failure cannot be told"))
        .and_then(|message| Ok(control.send(&message, &[])?));
    told.err().unwrap_or(failure)
}

/// The first message brings what survives this process.
fn receive_memory(control: &Seqpacket) -> Result<(Ledger, Recorder), Failure> {
    let mut buffer = message_buffer();
    let packet = control.receive(&mut *buffer)?.ok_or(Failure::Orphaned)?;
    match (
        vkmps_protocol::decode(&buffer[..packet.bytes]),
        packet.descriptors.as_slice(),
    ) {
        (Ok(ToEngine::Start), [ledger, recorder]) => {
            Ok((Ledger::map(ledger)?, Recorder::map(recorder)?))
        }
        _ => Err(Failure::Daemon("the first message is not the ledger")),
    }
}

impl Engine {
    fn new(
        control: Seqpacket,
        ledger: Ledger,
        mut recorder: Recorder,
        device: Arc<Device>,
        queues: Vec<Queue>,
        options: &Options,
    ) -> Result<Self, Failure> {
        let info = device.info();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let config = Config {
            lanes: Lanes::over(queues.len()),
            level_jobs: if queues.len() == 1 { 256 } else { 64 },
            spread_jobs: if queues.len() == 1 { 256 } else { SPREAD_JOBS },
            gather: GATHER,
            slices: if device.info().kind == DeviceKind::Cpu {
                CPU_SLICES
            } else {
                GPU_SLICES
            },
        };
        let builder = Builder::start(&device)?;
        let disposal = Disposal::start(builder.event())?;
        let waiter = Waiter::start(&device)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(SystemError::of("epoll_create1"))?;
        let watch = |fd: &dyn AsFd, name| {
            epoll
                .add(fd.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, name))
                .map_err(SystemError::of("epoll_ctl"))
        };
        watch(&control, CONTROL)?;
        watch(builder.event(), BUILDER)?;
        watch(waiter.event(), WAITER)?;
        let alarm = TimerFd::new(
            TimerClock::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )
        .map_err(SystemError::of("timerfd_create"))?;
        watch(&alarm, ALARM)?;
        control.set_nonblocking(true)?;
        let timestamps = info.limits.timestamp_bits > 0 && info.kind != DeviceKind::Cpu;
        let polls = cores >= POLL_CORES && info.kind != DeviceKind::Cpu;
        let wakers = options
            .wakers
            .unwrap_or(if polls { cores / WAKER_CORES } else { 0 });
        let spare = cores.saturating_sub(1 + wakers) / 2;
        let pollers = if polls {
            options.pollers.unwrap_or(spare)
        } else {
            0
        };
        let clock = Instant::now();
        recorder.begin(monotonic()?, queues.len());
        let queues = queues
            .into_iter()
            .map(|queue| QueueState {
                queue,
                flights: VecDeque::new(),
                spare: Vec::new(),
                pace: Pace::default(),
            })
            .collect();
        Ok(Self {
            device,
            queues,
            scheduler: Scheduler::new(config),
            jobs: Jobs::default(),
            sessions: Vec::new(),
            free_sessions: Vec::new(),
            names: HashMap::new(),
            hot: Vec::new(),
            programs: HashMap::new(),
            ledger,
            recorder,
            firsts: Vec::new(),
            heard: 0,
            control,
            message: message_buffer(),
            outbox: VecDeque::new(),
            builder,
            disposal,
            blocks: Blocks::default(),
            chunks: HashMap::new(),
            waiter,
            epoll,
            actions: Vec::new(),
            arrivals: VecDeque::new(),
            touched: Vec::new(),
            gone: Vec::new(),
            closed: false,
            payload: Vec::new(),
            clock,
            now: Duration::ZERO,
            progressed: Duration::ZERO,
            glanced: Duration::ZERO,
            loop_budget: options.loop_budget,
            timestamps,
            polls,
            pollers,
            waker: Waker::start(wakers)?,
            wakes: Vec::new(),
            alarm,
            leaving: Leaving::No,
        })
    }

    /// Reports what clients can count on.
    fn tell_ready(&mut self, warnings: Vec<String>) {
        let info = self.device.info();
        let device = device::description(info, self.queues.len());
        let names = info.extensions.names();
        let extensions = names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let queues = self.queues.iter().map(|state| &state.queue);
        let ranks = device::ranks(&self.device, queues);
        self.tell(FromEngine::Ready {
            device,
            extensions,
            warnings,
            max_allocations: self.device.info().limits.max_allocations,
            ranks,
        });
    }

    fn serve(&mut self) -> Result<(), Failure> {
        if self.polls {
            vkmps_ipc::wake::prefer_this_thread();
        }
        while !self.is_over() {
            self.turn()?;
        }
        self.flush()?;
        Ok(())
    }

    /// One turn of the loop: what is over, what is new, what can start; else rest.
    fn turn(&mut self) -> Result<(), Failure> {
        self.now = self.clock.elapsed();
        let mut moved = self.reap()?;
        if self.leaving != Leaving::Yes {
            let last = self.leaving == Leaving::LastCall;
            if last {
                // Who rang shortly before vkmpsd said stop may not have been heard yet.
                self.warm_all();
            }
            moved |= self.drain()?;
            if last && self.arrivals.is_empty() {
                self.leaving = Leaving::Yes;
            }
        }
        moved |= self.launch()?;
        if self.leaving != Leaving::Yes {
            moved |= self.scrub()?;
        }
        if std::mem::take(&mut self.closed) || !self.touched.is_empty() || !self.gone.is_empty() {
            self.act()?;
            self.publish();
            moved = true;
        }
        if moved {
            self.progressed = self.now;
        }
        // An engine that does not poll parks as soon as nothing moves, and looks then.
        let every = if self.polls {
            GLANCE_EVERY
        } else {
            GLANCE_BUSY
        };
        if self.now.saturating_sub(self.glanced) >= every {
            self.glance()?;
        }
        // What a glance brought must not wait for the next event.
        let news = self.closed
            || !self.gone.is_empty()
            || self.is_over()
            || (self.leaving != Leaving::Yes && self.blocks.is_due(self.now));
        if moved || news { Ok(()) } else { self.idle() }
    }

    /// Asked to stop, and all that was taken in before is finished.
    fn is_over(&self) -> bool {
        self.leaving == Leaving::Yes
            && self.queues.iter().all(|queue| queue.flights.is_empty())
            && self
                .sessions
                .iter()
                .flatten()
                .all(|session| session.jobs == 0)
    }

    /// Doorbells are named by their session's index.
    pub(crate) fn watch_doorbell(
        &self,
        index: usize,
        doorbell: &OwnedFd,
    ) -> Result<(), SystemError> {
        // Edge-triggered: each ring is an event of its own, so the eventfd is never read.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, index as u64);
        self.epoll
            .add(doorbell, event)
            .map_err(SystemError::of("epoll_ctl"))
    }
}

/// CLOCK_MONOTONIC, by which other processes can tell when something was.
fn monotonic() -> Result<Duration, SystemError> {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .map_err(SystemError::of("clock_gettime"))
}

/// Work is spread over further queues from so many jobs on; measured on an H200, where a launch costs the engine 8 us.
const SPREAD_JOBS: usize = 8;
/// Shorter slices lose throughput, longer ones are what others wait for; measured on an H200, where 0.4 ms below others keep
/// 96 % of the background's rate.
const GPU_SLICES: Slices = Slices {
    below_others: Duration::from_micros(400),
    exclusive: Duration::from_millis(1),
    cooperative: Duration::from_micros(500),
};
/// Where the device is the host's cores: a slice costs a wake-up of every core.
const CPU_SLICES: Slices = Slices {
    below_others: Duration::from_micros(1_500),
    exclusive: Duration::from_micros(1_500),
    cooperative: Duration::from_millis(1),
};
/// How long fewer jobs wait for company; there is nothing to gain from more than a launch costs twice.
const GATHER: Duration = Duration::from_micros(15);
/// A thread for waking clients per so many cores: on small machines the engine does it by the way.
const WAKER_CORES: usize = 8;
/// Machines with fewer cores have none to spare for polling.
const POLL_CORES: usize = 4;
/// Sessions that ring while others keep the engine busy wait at most this long.
const GLANCE_EVERY: Duration = Duration::from_micros(20);
/// The same where the engine does not poll, and only a flood of work keeps it from parking.
const GLANCE_BUSY: Duration = Duration::from_micros(500);
