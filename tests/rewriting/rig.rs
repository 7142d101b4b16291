//! A device, modules as clients write them, and what becomes of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vkmps_gpu::{
    Batch, Bind, Device, Error, Instance, Kind, Memory, Options, Part, Pipeline, PipelineDesc,
    Queue, Slot, SlotKind, Timing, Word,
};
use vkmps_spirv::{Features, Prepared, Target};

/// An opened device.
pub(crate) struct Rig {
    device: Arc<Device>,
    queue: Queue,
    /// One device at a time; dropped last.
    _turn: MutexGuard<'static, ()>,
}

/// A compiled module.
pub(crate) struct Kernel {
    pipeline: Arc<Pipeline>,
    /// Which buffer is at which slot.
    buffers: Vec<usize>,
}

/// What a kernel works on: each buffer is a storage buffer at the binding of its index.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) grid: [u32; 3],
    pub(crate) buffers: Vec<Vec<u32>>,
}

/// What it leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The first buffer.
    pub(crate) words: Vec<u32>,
    /// The budget of loop iterations did not suffice.
    pub(crate) used_up: bool,
}

impl Rig {
    /// None, said aloud, where there is no Vulkan device.
    pub(crate) fn open() -> Option<Self> {
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
        Some(Rig {
            device,
            queue: queues.remove(0),
            _turn: turn,
        })
    }

    /// The device as the gate knows it.
    pub(crate) fn target(&self) -> Target {
        let info = self.device.info();
        Target {
            vulkan_minor: info.api_version.1.clamp(2, 4),
            features: Features {
                storage_buffer_array_dynamic_indexing: true,
                int64: info.features.shader_int64,
                int16: info.features.shader_int16,
                float64: info.features.shader_float64,
                subgroup_basic: true,
                subgroup_vote: true,
                subgroup_arithmetic: true,
                subgroup_ballot: true,
                ..Features::default()
            },
            max_push_constant_bytes: info.limits.max_push_bytes,
            max_workgroup_size: info.limits.max_group_size,
            max_workgroup_invocations: info.limits.max_group_invocations,
            max_workgroup_memory_bytes: info.limits.max_shared_bytes,
            scalar_block_layout: info.features.scalar_block_layout,
            robust_buffer_access2: info.features.robust_buffer_access2,
            zero_initialize_workgroup_memory: info.features.zero_initialize_workgroup_memory,
        }
    }

    /// A module as its author wrote it.
    pub(crate) fn untouched(&self, module: &[u8], work: &Work) -> Kernel {
        self.kernel(&words(module), (0..work.buffers.len()).collect())
    }

    /// The same as it runs for clients.
    pub(crate) fn rewritten(&self, module: &[u8]) -> Kernel {
        let prepared = vkmps_spirv::prepare(module, "main", &[], &self.target());
        let Prepared { words, interface } = prepared.expect("the module passes");
        let buffers = interface
            .bindings
            .iter()
            .map(|binding| binding.binding as usize);
        self.kernel(&words, buffers.collect())
    }

    fn kernel(&self, words: &[u32], buffers: Vec<usize>) -> Kernel {
        let slot = Slot {
            kind: SlotKind::Storage,
            count: 1,
        };
        let desc = PipelineDesc {
            words,
            entry: "main",
            slots: &vec![slot; buffers.len()],
            push_bytes: 0,
            constants: &[],
        };
        let pipeline = Pipeline::new(&self.device, &desc, None).expect("the driver compiles it");
        Kernel { pipeline, buffers }
    }

    /// Runs a kernel once for each of `slices`, which are parts of one grid.
    pub(crate) fn run(
        &mut self,
        kernel: &Kernel,
        work: &Work,
        slices: &[([u32; 3], [u32; 3])],
        budget: u32,
    ) -> Outcome {
        let memories: Vec<Arc<Memory>> = work
            .buffers
            .iter()
            .map(|words| self.memory(words))
            .collect();
        let bindings: Vec<Bind<'_>> = (0u32..)
            .zip(&kernel.buffers)
            .map(|(slot, buffer)| Bind {
                slot,
                element: 0,
                memory: &memories[*buffer],
                offset: 0,
                range: memories[*buffer].len(),
            })
            .collect();
        let mut batch = Batch::new(&self.device, Timing::Off).expect("a batch");
        batch.begin().expect("it begins");
        let word: Word = batch.budget(budget).expect("a budget");
        for (base, groups) in slices {
            let part = Part {
                base: *base,
                groups: *groups,
                whole: work.grid,
                word,
            };
            batch
                .dispatch_part(&kernel.pipeline, &bindings, &[], part)
                .expect("a dispatch");
        }
        batch.end().expect("it ends");
        let value = self.queue.submit(&mut [&mut batch]).expect("a submit");
        let over = self.queue.wait(value, PATIENCE).expect("the device lives");
        assert!(over, "the work did not finish");
        Outcome {
            words: contents(&memories[0]),
            used_up: batch.is_used_up(word).expect("its word"),
        }
    }

    /// The same for the whole grid at once.
    pub(crate) fn run_whole(&mut self, kernel: &Kernel, work: &Work, budget: u32) -> Outcome {
        self.run(kernel, work, &[([0; 3], work.grid)], budget)
    }

    fn memory(&self, words: &[u32]) -> Arc<Memory> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let memory = Memory::allocate(&self.device, bytes.len() as u64, Kind::HostVisible)
            .expect("host-visible memory");
        memory.write(0, &bytes).expect("a write inside");
        memory
    }
}

fn contents(memory: &Memory) -> Vec<u32> {
    let mut all = vec![0; usize::try_from(memory.len()).expect("a small memory")];
    memory.read(0, &mut all).expect("a read inside");
    words(&all)
}

/// Little-endian words.
pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(120);
/// NVIDIA 580.159.04 can deadlock when a thread that used Vulkan exits while another destroys a device.
static TURN: Mutex<()> = Mutex::new(());
