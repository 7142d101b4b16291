//! An opened device with the test shaders, and memfds as the daemon makes them.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vkmps_gpu::{
    Batch, Bind, Constant, Device, Error, Instance, Kind, Memory, Options, Pipeline, PipelineDesc,
    Queue, Slot, SlotKind, Timing,
};

pub(crate) struct Rig {
    pub(crate) device: Arc<Device>,
    pub(crate) queues: Vec<Queue>,
    /// Held by one test at a time; dropped last.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Rig {
    /// None, said aloud, where there is no Vulkan device.
    pub(crate) fn open(options: &Options) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let rig = Self::beside(options)?;
        Some(Self {
            _turn: Some(turn),
            ..rig
        })
    }

    /// A second device for the test that has its turn.
    pub(crate) fn beside(options: &Options) -> Option<Self> {
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
        let (device, queues) = Device::open(&info, options).expect("a suitable device opens");
        Some(Self {
            device,
            queues,
            _turn: None,
        })
    }

    pub(crate) fn default() -> Option<Self> {
        Self::open(&Options::default())
    }

    pub(crate) fn batch(&self) -> Batch {
        Batch::new(&self.device, Timing::On).expect("a batch")
    }

    /// Records with `record`, submits, waits, and gives the batch back.
    pub(crate) fn run(
        &mut self,
        record: impl FnOnce(&mut Batch) -> Result<(), Error>,
    ) -> Result<Batch, Error> {
        let mut batch = self.batch();
        batch.begin()?;
        record(&mut batch)?;
        batch.end()?;
        let value = self.queues[0].submit(&mut [&mut batch])?;
        assert!(
            self.queues[0].wait(value, PATIENCE)?,
            "the work did not finish"
        );
        Ok(batch)
    }

    pub(crate) fn visible(&self, words: &[u32]) -> Arc<Memory> {
        let len = (words.len() * 4) as u64;
        let memory =
            Memory::allocate(&self.device, len, Kind::HostVisible).expect("host-visible memory");
        memory.write(0, &bytes(words)).expect("a write inside");
        memory
    }

    pub(crate) fn add(&self) -> Arc<Pipeline> {
        self.pipeline(ADD, &[storage(1), storage(1), storage(1)], 4, &[])
    }

    pub(crate) fn affine(&self, factor: u64) -> Arc<Pipeline> {
        let uniform = Slot {
            kind: SlotKind::Uniform,
            count: 1,
        };
        self.pipeline(
            AFFINE,
            &[storage(2), uniform],
            0,
            &[Constant {
                id: 7,
                value: factor,
                size: 4,
            }],
        )
    }

    pub(crate) fn spin(&self) -> Arc<Pipeline> {
        self.pipeline(SPIN, &[storage(1)], 4, &[])
    }

    pub(crate) fn nothing(&self) -> Arc<Pipeline> {
        self.pipeline(NOTHING, &[], 0, &[])
    }

    fn pipeline(
        &self,
        module: &[u8],
        slots: &[Slot],
        push_bytes: u32,
        constants: &[Constant],
    ) -> Arc<Pipeline> {
        let desc = PipelineDesc {
            words: &words(module),
            entry: "main",
            slots,
            push_bytes,
            constants,
        };
        Pipeline::new(&self.device, &desc, None).expect("the test shader compiles")
    }
}

pub(crate) fn storage(count: u32) -> Slot {
    Slot {
        kind: SlotKind::Storage,
        count,
    }
}

/// The whole memory as element 0 of a slot.
pub(crate) fn whole(slot: u32, memory: &Arc<Memory>) -> Bind<'_> {
    Bind {
        slot,
        element: 0,
        memory,
        offset: 0,
        range: memory.len(),
    }
}

/// A memfd of this length, sealed as asked.
pub(crate) fn memfd(len: u64, seals: SealFlag) -> File {
    let file = File::from(memfd_create("test", MFdFlags::MFD_ALLOW_SEALING).expect("a memfd"));
    file.set_len(len).expect("its length");
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("its seals");
    file
}

pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect()
}

/// All of a visible memory.
pub(crate) fn contents(memory: &Memory) -> Vec<u32> {
    let mut all = vec![0; usize::try_from(memory.len()).expect("a small memory")];
    memory.read(0, &mut all).expect("a read inside");
    words(&all)
}

pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
pub(crate) const ADD: &[u8] = include_bytes!("../../testdata/add.spv");
const AFFINE: &[u8] = include_bytes!("../../testdata/affine.spv");
const SPIN: &[u8] = include_bytes!("../../testdata/spin.spv");
const NOTHING: &[u8] = include_bytes!("../../testdata/nothing.spv");
/// Guards nothing but the driver: NVIDIA 580.159.04 can deadlock when a thread that used Vulkan exits (as those of tests do)
/// while another destroys a device. To be removed with that driver.
static TURN: Mutex<()> = Mutex::new(());
