//! Jobs in pieces on a real driver: what they leave is what the whole job leaves.

use super::{Piece, record};
use crate::job::{Bound, Job, Jobs, Program, Span, Step};
use crate::{compiler, device};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vkmps_gpu::{
    Batch, Device, Error, Instance, Kind, Memory, Options, Pipeline, PipelineDesc, Queue, Timing,
};
use vkmps_protocol::ErrorCode;
use vkmps_scheduler::JobKey;

#[test]
fn a_job_cut_between_any_two_work_units_leaves_what_the_whole_job_leaves() {
    let Some(mut rig) = Rig::open() else { return };
    let grid = [3, 4, 5];
    let expected = rig.run(grid, &[]);
    for cut in 0..=expected.units {
        assert_eq!(rig.run(grid, &[cut]), expected, "cut at {cut}");
    }
}

#[test]
fn a_job_cut_at_random_along_any_axis_leaves_what_the_whole_job_leaves() {
    let Some(mut rig) = Rig::open() else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for grid in [[60, 1, 1], [1, 60, 1], [1, 1, 60], [3, 4, 5], [1, 12, 5]] {
        let expected = rig.run(grid, &[]);
        for _ in 0..40 {
            let mut cuts: Vec<u64> = (0..random.below(12))
                .map(|_| random.below(expected.units + 1))
                .collect();
            cuts.sort_unstable();
            assert_eq!(rig.run(grid, &cuts), expected, "{grid:?} cut at {cuts:?}");
        }
    }
}

#[test]
fn pieces_of_several_jobs_share_levels_whatever_stages_they_are_in() {
    let Some(mut rig) = Rig::open() else { return };
    let grid = [5, 4, 3];
    let expected = rig.run(grid, &[]);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..20 {
        let mut jobs = Jobs::default();
        let works = [rig.work(), rig.work(), rig.work()];
        let pieces: Vec<Vec<Piece>> = works
            .iter()
            .map(|work| {
                let key = rig.job(&mut jobs, work, grid);
                let mut cuts: Vec<u64> = (0..3).map(|_| random.below(expected.units + 1)).collect();
                cuts.sort_unstable();
                cut(key, jobs.get(key).units(), &cuts)
            })
            .collect();
        let levels: Vec<Vec<Piece>> = (0..4)
            .map(|level| pieces.iter().map(|all| all[level]).collect())
            .collect();
        rig.execute(&mut jobs, &levels);
        for work in &works {
            assert_eq!(rig.outcome(work, expected.units), expected, "{pieces:?}");
        }
    }
}

#[test]
fn a_job_holds_what_it_uses_until_its_last_piece_was_recorded() {
    let Some(mut rig) = Rig::open() else { return };
    let mut jobs = Jobs::default();
    let work = rig.work();
    let alone = Arc::strong_count(&work.target);
    let key = rig.job(&mut jobs, &work, [3, 4, 5]);
    let pieces = cut(key, jobs.get(key).units(), &[10, 20]);
    assert!(Arc::strong_count(&work.target) > alone);
    rig.execute(&mut jobs, &[pieces[..1].to_vec(), pieces[1..2].to_vec()]);
    assert!(Arc::strong_count(&work.target) > alone);
    rig.execute(&mut jobs, &[pieces[2..].to_vec()]);
    assert_eq!(Arc::strong_count(&work.target), alone);
}

#[test]
fn of_a_job_that_has_failed_no_further_piece_runs() {
    let Some(mut rig) = Rig::open() else { return };
    let mut jobs = Jobs::default();
    let works = [rig.work(), rig.work()];
    let keys = works
        .each_ref()
        .map(|work| rig.job(&mut jobs, work, [3, 4, 5]));
    let untouched = rig.outcome(&works[0], 0);
    jobs.get_mut(keys[0]).failure = Some(ErrorCode::LoopBudget);
    let level = keys.map(|job| cut(job, jobs.get(job).units(), &[])[0]);
    rig.execute(&mut jobs, &[level.to_vec()]);
    assert_eq!(rig.outcome(&works[0], 0), untouched);
    assert_ne!(rig.outcome(&works[1], 0), untouched);
}

#[test]
fn a_job_whose_work_units_64_bits_do_not_count_takes_no_further_step() {
    let Some(rig) = Rig::open() else { return };
    let mut job = Job::default();
    let work = rig.work();
    let most = [u32::MAX >> 1, 65_535, 65_535];
    let dispatch = |groups| rig.dispatch(&mut Job::default(), &work, groups, 0);
    assert!(job.push(dispatch(most)));
    assert!(job.push(dispatch(most)));
    let before = job.units();
    assert!(!job.push(dispatch(most)));
    assert!(!job.push(dispatch([u32::MAX; 3])));
    assert_eq!((job.units(), job.steps.len()), (before, 2));
}

/// A device, and a program that writes all that a workgroup knows of its grid.
struct Rig {
    device: Arc<Device>,
    queue: Queue,
    program: Arc<Program>,
    /// Which memory is at which slot: by the module's own binding.
    slots: Vec<(u32, u32)>,
    /// One device at a time; dropped last.
    _turn: MutexGuard<'static, ()>,
}

/// What a job works on.
struct Work {
    target: Arc<Memory>,
    /// Two sets of parameters.
    parameters: Arc<Memory>,
    filled: Arc<Memory>,
    copied: Arc<Memory>,
}

/// What a job leaves, and how long it is.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    units: u64,
    bytes: Vec<Vec<u8>>,
}

impl Rig {
    /// None, said aloud, where there is no Vulkan device.
    fn open() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let info = match Instance::load().and_then(|instance| instance.choose(None)) {
            Ok(info) => info,
            Err(
                error @ (Error::LoaderMissing(_) | Error::NoDevice { .. } | Error::Unsupported(_)),
            ) => {
                eprintln!("SKIPPED, no Vulkan device: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let (device, mut queues) =
            Device::open(&info, &Options::default()).expect("a suitable device opens");
        let target = device::target(device.info());
        let prepared =
            vkmps_spirv::prepare(MODULE, "main", &[], &target).expect("the module passes");
        let interface = compiler::interface(&prepared.interface);
        let desc = PipelineDesc {
            words: &prepared.words,
            entry: "main",
            slots: &device::slots(&interface),
            push_bytes: 0,
            constants: &[],
        };
        let pipeline = Pipeline::new(&device, &desc, None).expect("the driver compiles it");
        let slots = interface
            .bindings
            .iter()
            .map(|binding| (binding.binding, binding.slot))
            .collect();
        let program = Arc::new(Program {
            key: 0,
            pipeline,
            interface,
            descriptors: 2,
        });
        Some(Self {
            device,
            queue: queues.remove(0),
            program,
            slots,
            _turn: turn,
        })
    }

    fn work(&self) -> Work {
        let parameters = self.memory(512);
        for (set, words) in [[7, 1], [9, 2]].into_iter().enumerate() {
            let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            let offset = set as u64 * PARAMETERS_BYTES;
            parameters.write(offset, &bytes).expect("a write inside");
        }
        Work {
            target: self.memory(TARGET_BYTES),
            parameters,
            filled: self.memory(FILLED_BYTES + 8),
            copied: self.memory(FILLED_BYTES + TARGET_BYTES + 8),
        }
    }

    fn memory(&self, bytes: u64) -> Arc<Memory> {
        let memory =
            Memory::allocate(&self.device, bytes, Kind::HostVisible).expect("host-visible memory");
        let nothing = vec![0xEE; usize::try_from(bytes).expect("a small memory")];
        memory.write(0, &nothing).expect("a write inside");
        memory
    }

    /// Every kind of step; each stage needs what the one before it left, and spoils it.
    fn job(&self, jobs: &mut Jobs, work: &Work, grid: [u32; 3]) -> JobKey {
        let key = jobs.take();
        let job = jobs.get_mut(key);
        let first = self.dispatch(job, work, grid, 0);
        let fill = Step::Fill {
            target: Arc::clone(&work.filled),
            offset: 4,
            bytes: FILLED_BYTES,
            word: 0xABCD_1234,
        };
        stage(job, [first, fill]);
        let copies = [
            (&work.target, 0, 0, TARGET_BYTES),
            (&work.filled, 7, TARGET_BYTES + 1, FILLED_BYTES - 5),
        ]
        .map(|(source, from, to, bytes)| Step::Copy {
            source: Arc::clone(source),
            source_offset: from,
            target: Arc::clone(&work.copied),
            target_offset: to,
            bytes,
        });
        stage(job, copies);
        job.data.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        let data = Span {
            start: job.data.len() - 8,
            end: job.data.len(),
        };
        let update = Step::Update {
            target: Arc::clone(&work.filled),
            offset: 8,
            data,
        };
        let second = self.dispatch(job, work, grid, 1);
        stage(job, [update, second]);
        key
    }

    /// A grid that begins in its third plane and has its bindings in a job.
    fn dispatch(&self, job: &mut Job, work: &Work, groups: [u32; 3], parameters: u64) -> Step {
        let start = job.bindings.len();
        for (binding, slot) in &self.slots {
            let (memory, offset, range) = match binding {
                0 => (&work.target, 0, TARGET_BYTES),
                _ => (&work.parameters, parameters * PARAMETERS_BYTES, 8),
            };
            job.bindings.push(Bound {
                slot: *slot,
                element: 0,
                memory: Arc::clone(memory),
                offset,
                range,
            });
        }
        Step::Dispatch {
            program: Arc::clone(&self.program),
            bindings: Span {
                start,
                end: job.bindings.len(),
            },
            push: Span { start: 0, end: 0 },
            base: [0, 0, 2],
            groups,
        }
    }

    /// Runs a job in pieces, each a level of its own.
    fn run(&mut self, grid: [u32; 3], cuts: &[u64]) -> Outcome {
        let mut jobs = Jobs::default();
        let work = self.work();
        let key = self.job(&mut jobs, &work, grid);
        let units = jobs.get(key).units();
        let levels: Vec<_> = cut(key, units, cuts)
            .into_iter()
            .map(|piece| vec![piece])
            .collect();
        self.execute(&mut jobs, &levels);
        self.outcome(&work, units)
    }

    /// Runs levels one after another.
    fn execute(&mut self, jobs: &mut Jobs, levels: &[Vec<Piece>]) {
        let mut batches: Vec<Batch> = levels
            .iter()
            .map(|pieces| {
                let mut batch = Batch::new(&self.device, Timing::Off).expect("a batch");
                batch.begin().expect("it begins");
                record(&mut batch, jobs, pieces, &[]).expect("the pieces are recorded");
                batch.end().expect("it ends");
                batch
            })
            .collect();
        let mut all: Vec<&mut Batch> = batches.iter_mut().collect();
        let value = self.queue.submit(&mut all).expect("a submit");
        assert!(self.queue.wait(value, PATIENCE).expect("a wait"));
    }

    fn outcome(&self, work: &Work, units: u64) -> Outcome {
        let bytes = [&work.target, &work.filled, &work.copied].map(|memory| {
            let mut bytes = vec![0; usize::try_from(memory.len()).expect("a small memory")];
            memory.read(0, &mut bytes).expect("a read inside");
            bytes
        });
        Outcome {
            units,
            bytes: bytes.to_vec(),
        }
    }
}

fn stage(job: &mut Job, steps: [Step; 2]) {
    for step in steps {
        assert!(job.push(step));
    }
    job.stages.push(job.steps.len());
}

/// A job in pieces that end at `cuts`, which are sorted, and at its end.
fn cut(job: JobKey, units: u64, cuts: &[u64]) -> Vec<Piece> {
    let ends: Vec<u64> = cuts.iter().copied().chain([units]).collect();
    let starts = [0].into_iter().chain(ends.iter().copied());
    let pieces = starts
        .zip(&ends)
        .enumerate()
        .map(|(index, (from, to))| Piece {
            job,
            from,
            to: *to,
            preempted: false,
            last: index + 1 == ends.len(),
        });
    pieces.collect()
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

const MODULE: &[u8] = include_bytes!("../../../tests/rewriting/kernels/grid.plain.spv");
/// For 62 planes of up to 60 workgroups with 12 invocations each.
const TARGET_BYTES: u64 = 62 * 60 * 12 * 4;
/// Not a whole number of blocks.
const FILLED_BYTES: u64 = 3 * 65_536 + 20;
/// Apart enough for any device's alignment of bindings.
const PARAMETERS_BYTES: u64 = 256;
const PATIENCE: Duration = Duration::from_secs(60);
/// Guards nothing but the driver: NVIDIA 580.159.04 can deadlock when a thread that used Vulkan exits (as those of tests do)
/// while another destroys a device. To be removed with that driver.
static TURN: Mutex<()> = Mutex::new(());
