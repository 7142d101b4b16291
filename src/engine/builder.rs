//! A thread for what is slow in a driver: allocating and importing memory, creating pipelines. The engine's own thread
//! only takes the finished objects over.

use crate::device;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use vkmps_gpu::{Device, Error, Kind, Memory, Pipeline, PipelineCache, PipelineDesc};
use vkmps_ipc::{SystemError, memory, wake};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::handle::{ChunkId, ProgramHash, SessionId};
use vkmps_protocol::limits::MAX_MODULE_BYTES;
use vkmps_protocol::program::Interface;

/// What to build.
#[derive(Debug)]
pub(crate) enum Request {
    /// Memory of a session: a range of its arena, or another file.
    Chunk {
        session: SessionId,
        chunk: ChunkId,
        bytes: u64,
        arena: (OwnedFd, u64),
    },
    /// A block of the device's memory.
    Block { chunk: ChunkId, bytes: u64 },
    /// A pipeline from a checked module and the compiler's cache.
    Pipeline {
        hash: ProgramHash,
        entry: String,
        interface: Interface,
        module: OwnedFd,
        cache: OwnedFd,
    },
}

/// What was built.
#[derive(Debug)]
pub(crate) enum Built {
    /// For [`Request::Chunk`].
    Chunk {
        session: SessionId,
        chunk: ChunkId,
        result: Result<Arc<Memory>, (ErrorCode, String)>,
    },
    /// For [`Request::Block`]: what others left may be in it.
    Block {
        chunk: ChunkId,
        result: Result<Arc<Memory>, (ErrorCode, String)>,
    },
    /// For [`Request::Pipeline`].
    Pipeline {
        hash: ProgramHash,
        interface: Interface,
        result: Result<Arc<Pipeline>, String>,
    },
}

/// The engine's end of the builder.
#[derive(Debug)]
pub(crate) struct Builder {
    requests: Sender<Request>,
    finished: Receiver<Built>,
    event: Arc<OwnedFd>,
}

impl Builder {
    pub(crate) fn start(device: &Arc<Device>) -> Result<Self, SystemError> {
        let (requests, work) = channel();
        let (done, finished) = channel();
        let event = Arc::new(wake::eventfd()?);
        let thread = Thread {
            device: Arc::clone(device),
            work,
            done,
            event: Arc::clone(&event),
        };
        std::thread::Builder::new()
            .name("builder".into())
            .spawn(move || thread.run())
            .map_err(|_| SystemError {
                call: "starting a thread",
                errno: nix::errno::Errno::EAGAIN,
            })?;
        Ok(Self {
            requests,
            finished,
            event,
        })
    }

    /// Rings when something is finished.
    pub(crate) fn event(&self) -> &Arc<OwnedFd> {
        &self.event
    }

    /// Queues a request. The thread lives as long as this, so it is not lost.
    pub(crate) fn build(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// The next finished object.
    pub(crate) fn finished(&self) -> Option<Built> {
        self.finished.try_recv().ok()
    }
}

struct Thread {
    device: Arc<Device>,
    work: Receiver<Request>,
    done: Sender<Built>,
    event: Arc<OwnedFd>,
}

impl Thread {
    fn run(self) {
        while let Ok(request) = self.work.recv() {
            let built = match request {
                Request::Chunk {
                    session,
                    chunk,
                    bytes,
                    arena: (file, offset),
                } => {
                    let imported = Memory::import(&self.device, file.as_fd(), offset, bytes);
                    Built::Chunk {
                        session,
                        chunk,
                        result: imported.map_err(|error| told(&error)),
                    }
                }
                Request::Block { chunk, bytes } => {
                    let allocated = Memory::allocate(&self.device, bytes, Kind::Block);
                    Built::Block {
                        chunk,
                        result: allocated.map_err(|error| told(&error)),
                    }
                }
                Request::Pipeline {
                    hash,
                    entry,
                    interface,
                    module,
                    cache,
                } => {
                    let result = self.pipeline(&entry, &interface, &module, &cache);
                    Built::Pipeline {
                        hash,
                        interface,
                        result,
                    }
                }
            };
            if self.done.send(built).is_err() {
                return;
            }
            wake::ring(&*self.event);
        }
    }

    fn pipeline(
        &self,
        entry: &str,
        interface: &Interface,
        module: &OwnedFd,
        cache: &OwnedFd,
    ) -> Result<Arc<Pipeline>, String> {
        let words = words(&contents(module).map_err(|error| error.to_string())?);
        // A cache that cannot be read or is for another driver only costs time.
        let cache = contents(cache)
            .ok()
            .and_then(|data| PipelineCache::new(&self.device, &data).ok());
        let slots = device::slots(interface);
        let desc = PipelineDesc {
            words: &words,
            entry,
            slots: &slots,
            push_bytes: interface.push_bytes,
            constants: &[],
        };
        Pipeline::new(&self.device, &desc, cache.as_deref()).map_err(|error| error.to_string())
    }
}

/// A module's bytes as words; the gate made them, so their number is a multiple of 4.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect()
}

/// All bytes of a memfd.
fn contents(fd: &OwnedFd) -> Result<Vec<u8>, SystemError> {
    let size = nix::sys::stat::fstat(fd)
        .map_err(SystemError::of("fstat"))?
        .st_size;
    let bounded = usize::try_from(size)
        .ok()
        .filter(|size| *size as u64 <= 4 * MAX_MODULE_BYTES);
    let size = bounded.ok_or(SystemError {
        call: "reading a module",
        errno: nix::errno::Errno::EFBIG,
    })?;
    memory::read_exactly(fd, size)
}

fn told(error: &Error) -> (ErrorCode, String) {
    (code(error), error.to_string())
}

/// The number that a client gets for a driver's failure.
pub(crate) fn code(error: &Error) -> ErrorCode {
    match error {
        Error::OutOfDeviceMemory => ErrorCode::OutOfDeviceMemory,
        Error::OutOfHostMemory | Error::Mapping(_) => ErrorCode::OutOfHostMemory,
        Error::CompileFailed(_) => ErrorCode::CompileFailed,
        Error::InvalidUse(_) => ErrorCode::InvalidArgument,
        Error::Unsupported(_) => ErrorCode::Unsupported,
        Error::DeviceLost => ErrorCode::DeviceFault,
        _ => ErrorCode::System,
    }
}
