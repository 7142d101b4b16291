//! Work on a VkDevice of this process: one queue, every command buffer recorded anew.

use super::{Backend, BufferId, Lane, ProgramId, Residence, Wait, Work};
use crate::alloc::Contents;
use crate::error::Error;
use crate::shader::Shader;
use std::sync::Arc;
use std::time::Duration;
use vkmps_gpu::{
    Batch, Bind, Device, Instance, Kind, Memory, Options, Pipeline, PipelineDesc, Queue, Slot,
    SlotKind, Timing,
};

/// An own device and all that was made on it.
pub(crate) struct Direct {
    // Before the rest: dropping it waits for its work.
    queue: Queue,
    device: Arc<Device>,
    wait: vkmps_gpu::Wait,
    programs: Vec<Arc<Pipeline>>,
    buffers: Vec<Arc<Memory>>,
    /// Each with the timeline value of its last submit.
    lanes: Vec<(Batch, u64)>,
    single: Batch,
    staging: Option<Arc<Memory>>,
}

/// Opens the device as a program that trusts its own shaders would: without robustness features.
pub(crate) fn open(index: Option<usize>, queues: u32) -> Result<(Arc<Device>, Vec<Queue>), Error> {
    let info = Instance::load()?.choose(index)?;
    let options = Options {
        queues,
        robust: false,
        ..Options::default()
    };
    Ok(Device::open(&info, &options)?)
}

impl Direct {
    pub(crate) fn open(index: Option<usize>, wait: Wait) -> Result<Self, Error> {
        let (device, mut queues) = open(index, 1)?;
        let queue = queues
            .pop()
            .ok_or(Error::Usage("the device has no queue"))?;
        let wait = match wait {
            Wait::Block => vkmps_gpu::Wait::Block,
            Wait::Poll => vkmps_gpu::Wait::Poll,
        };
        Ok(Self {
            queue,
            wait,
            programs: Vec::new(),
            buffers: Vec::new(),
            lanes: Vec::new(),
            single: Batch::new(&device, Timing::Off)?,
            staging: None,
            device,
        })
    }

    /// Host-visible memory of at least this length.
    fn staging(&mut self, bytes: u64) -> Result<Arc<Memory>, Error> {
        match &self.staging {
            Some(memory) if memory.len() >= bytes => Ok(Arc::clone(memory)),
            _ => {
                let memory = Memory::allocate(&self.device, bytes, Kind::HostVisible)?;
                Ok(Arc::clone(self.staging.insert(memory)))
            }
        }
    }

    fn copy_memory(
        &mut self,
        from: &Arc<Memory>,
        to: &Arc<Memory>,
        bytes: u64,
    ) -> Result<(), Error> {
        self.single.begin()?;
        self.single.copy(from, 0, to, 0, bytes)?;
        self.single.end()?;
        Ok(self.queue.submit_and_wait(&mut self.single, self.wait)?)
    }
}

impl Backend for Direct {
    fn program(&mut self, shader: &'static Shader) -> Result<ProgramId, Error> {
        self.programs.push(pipeline(&self.device, shader)?);
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn buffer(&mut self, bytes: u64, residence: Residence) -> Result<BufferId, Error> {
        let kind = match residence {
            Residence::Device => Kind::DeviceLocal,
            Residence::Shared => Kind::HostVisible,
        };
        self.buffers
            .push(Memory::allocate(&self.device, bytes, kind)?);
        Ok(BufferId(self.buffers.len() - 1))
    }

    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), Error> {
        let memory = Arc::clone(&self.buffers[buffer.0]);
        if memory.is_visible() {
            return Ok(memory.write(0, bytes)?);
        }
        let staging = self.staging(bytes.len() as u64)?;
        staging.write(0, bytes)?;
        self.copy_memory(&staging, &memory, bytes.len() as u64)
    }

    fn read(&mut self, buffer: BufferId, bytes: &mut [u8]) -> Result<(), Error> {
        let memory = Arc::clone(&self.buffers[buffer.0]);
        if memory.is_visible() {
            return Ok(memory.read(0, bytes)?);
        }
        let staging = self.staging(bytes.len() as u64)?;
        self.copy_memory(&memory, &staging, bytes.len() as u64)?;
        Ok(staging.read(0, bytes)?)
    }

    fn submit(&mut self, lane: Lane, work: &Work<'_>) -> Result<(), Error> {
        while self.lanes.len() <= lane.0 {
            self.lanes.push((Batch::new(&self.device, Timing::Off)?, 0));
        }
        let (batch, value) = &mut self.lanes[lane.0];
        record(batch, &self.programs, &self.buffers, work)?;
        *value = self.queue.submit(&mut [batch])?;
        Ok(())
    }

    fn wait(&mut self, lane: Lane) -> Result<(), Error> {
        let Some((_, value)) = self.lanes.get(lane.0) else {
            return Ok(());
        };
        match self.wait {
            vkmps_gpu::Wait::Block => {
                self.queue.wait(*value, Duration::MAX)?;
            }
            vkmps_gpu::Wait::Poll => {
                while self.queue.completed()? < *value {
                    std::hint::spin_loop();
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, work: &Work<'_>) -> Result<(), Error> {
        record(&mut self.single, &self.programs, &self.buffers, work)?;
        Ok(self.queue.submit_and_wait(&mut self.single, self.wait)?)
    }

    fn copy(&mut self, from: BufferId, to: BufferId, bytes: u64) -> Result<(), Error> {
        let from = Arc::clone(&self.buffers[from.0]);
        let to = Arc::clone(&self.buffers[to.0]);
        self.copy_memory(&from, &to, bytes)
    }

    /// Whatever the driver leaves in it.
    fn allocate_and_free(&mut self, bytes: u64, _: Contents) -> Result<(), Error> {
        Memory::allocate(&self.device, bytes, Kind::DeviceLocal)?;
        Ok(())
    }

    fn is_mapped(&self, buffer: BufferId) -> bool {
        self.buffers[buffer.0].is_visible()
    }
}

/// Compiles a shader for this device.
pub(crate) fn pipeline(device: &Arc<Device>, shader: &Shader) -> Result<Arc<Pipeline>, Error> {
    let slots = vec![
        Slot {
            kind: SlotKind::Storage,
            count: 1
        };
        shader.buffers.len()
    ];
    let desc = PipelineDesc {
        words: &shader.words(),
        entry: "main",
        slots: &slots,
        push_bytes: shader.push_bytes,
        constants: &[],
    };
    Ok(Pipeline::new(device, &desc, None)?)
}

fn record(
    batch: &mut Batch,
    programs: &[Arc<Pipeline>],
    buffers: &[Arc<Memory>],
    work: &Work<'_>,
) -> Result<(), Error> {
    let bind = |(slot, BufferId(buffer)): (u32, &BufferId)| {
        let memory = &buffers[*buffer];
        Bind {
            slot,
            element: 0,
            memory,
            offset: 0,
            range: memory.len(),
        }
    };
    let bindings: Vec<_> = (0..).zip(work.buffers).map(bind).collect();
    batch.begin()?;
    batch.dispatch(
        &programs[work.program.0],
        &bindings,
        work.push,
        [0; 3],
        work.groups,
    )?;
    Ok(batch.end()?)
}
