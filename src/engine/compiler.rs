//! The compiler process: gate, passes and the driver's compilation of one module after another.
//!
//! A module may crash or stall what runs here; vkmpsd sets the deadline and answers for a process that dies. What comes
//! out is the rewritten module, and a driver's cache from which the engine makes its pipeline without compiling.

use crate::Options;
use crate::builder::code;
use crate::device;
use crate::engine::Failure;
use nix::sys::resource::{Resource, setrlimit};
use std::os::fd::{AsFd, OwnedFd};
use vkmps_gpu::{DeviceKind, Pipeline, PipelineCache, PipelineDesc};
use vkmps_ipc::memory::{memfd_with, read_exactly};
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::{FromCompiler, ToCompiler};
use vkmps_protocol::limits::{MAX_MODULE_BYTES, MAX_TEXT_BYTES};
use vkmps_protocol::program::{Access, BindingInfo, BindingKind, Interface, Specialization};
use vkmps_spirv::SpecConstant;

/// Serves until vkmpsd hangs up.
pub(crate) fn run(control: &Seqpacket, options: &Options) -> Result<(), Failure> {
    // Private memory, heap and JIT code; address space itself is what GPU drivers reserve by the terabyte.
    setrlimit(Resource::RLIMIT_DATA, MEMORY_BYTES, MEMORY_BYTES)
        .map_err(vkmps_ipc::SystemError::of("setrlimit(RLIMIT_DATA)"))?;
    // The driver loads before the filter closes; the first module is there or on its way.
    let enclosed = options.enclose()?;
    let mut opened = Some(device::open(options, 1)?);
    for warning in enclosed.seal()?.warnings {
        eprintln!("vkmps-engine: {warning}");
    }
    let mut buffer = message_buffer();
    while let Some(packet) = control.receive(&mut *buffer)? {
        let message = vkmps_protocol::decode(&buffer[..packet.bytes]);
        let (
            Ok(ToCompiler::Compile {
                hash,
                entry,
                module_bytes,
                specialization,
                ..
            }),
            [module],
        ) = (message, packet.descriptors.as_slice())
        else {
            return Err(Failure::Daemon("undecodable message"));
        };
        let device = match opened.take() {
            Some(device) => device,
            None => device::open(options, 1)?,
        };
        send(control, &FromCompiler::Taken { hash }, &[])?;
        let mut worker = Worker {
            device: device.0,
            queues: device.1,
        };
        let compiled = worker.compile(module, module_bytes, &entry, &specialization);
        // A software driver writes its disk cache when its instance goes; a GPU's cache travels with the answer.
        if worker.device.info().kind == DeviceKind::Cpu {
            drop(worker);
        } else {
            opened = Some((worker.device, worker.queues));
        }
        match compiled {
            Ok((interface, module, cache)) => {
                let answer = FromCompiler::Compiled { hash, interface };
                send(control, &answer, &[&module, &cache])?;
            }
            Err((code, mut text)) => {
                text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
                send(control, &FromCompiler::Refused { hash, code, text }, &[])?;
            }
        }
    }
    Ok(())
}

fn send(
    control: &Seqpacket,
    message: &FromCompiler,
    descriptors: &[&OwnedFd],
) -> Result<(), Failure> {
    let bytes =
        vkmps_protocol::encode(message).map_err(|_| Failure::Daemon("answer is too long"))?;
    let descriptors: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    Ok(control.send(&bytes, &descriptors)?)
}

struct Worker {
    device: std::sync::Arc<vkmps_gpu::Device>,
    queues: Vec<vkmps_gpu::Queue>,
}

type Compiled = (Interface, OwnedFd, OwnedFd);

impl Worker {
    fn compile(
        &mut self,
        module: &OwnedFd,
        bytes: u64,
        entry: &str,
        specialization: &[Specialization],
    ) -> Result<Compiled, (ErrorCode, String)> {
        let system = |error: vkmps_ipc::SystemError| (ErrorCode::System, error.to_string());
        let length = usize::try_from(bytes.min(MAX_MODULE_BYTES)).unwrap_or(0);
        let module = read_exactly(module, length).map_err(system)?;
        let constants: Vec<_> = specialization
            .iter()
            .map(|constant| SpecConstant {
                id: constant.id,
                value: constant.value,
            })
            .collect();
        let prepared = vkmps_spirv::prepare(
            &module,
            entry,
            &constants,
            &device::target(self.device.info()),
        )
        .map_err(|refusal| (ErrorCode::InvalidModule, refusal.to_string()))?;
        let interface = interface(&prepared.interface);
        let gpu = |error: vkmps_gpu::Error| (code(&error), error.to_string());
        let cache = PipelineCache::new(&self.device, &[]).map_err(gpu)?;
        let slots = device::slots(&interface);
        let desc = PipelineDesc {
            words: &prepared.words,
            entry,
            slots: &slots,
            push_bytes: interface.push_bytes,
            constants: &[],
        };
        let pipeline = Pipeline::new(&self.device, &desc, Some(&cache)).map_err(gpu)?;
        if let Some(queue) = self.queues.first_mut() {
            pipeline.warm_up(queue).map_err(gpu)?;
        }
        let words: Vec<u8> = prepared
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let module = memfd_with("vkmps-module", &words).map_err(system)?;
        let cache = memfd_with("vkmps-cache", &cache.data().unwrap_or_default()).map_err(system)?;
        Ok((interface, module, cache))
    }
}

/// The gate's words in the protocol's.
pub(crate) fn interface(reflected: &vkmps_spirv::Interface) -> Interface {
    let bindings = reflected.bindings.iter().map(|binding| BindingInfo {
        set: binding.set,
        binding: binding.binding,
        count: binding.count,
        kind: match binding.kind {
            vkmps_spirv::BindingKind::Storage => BindingKind::Storage,
            vkmps_spirv::BindingKind::Uniform => BindingKind::Uniform,
        },
        access: match binding.access {
            vkmps_spirv::Access::Read => Access::Read,
            vkmps_spirv::Access::Write => Access::Write,
            vkmps_spirv::Access::ReadWrite => Access::ReadWrite,
        },
        slot: binding.slot,
    });
    Interface {
        bindings: bindings.collect(),
        push_bytes: reflected.push_constant_bytes,
        workgroup_size: reflected.workgroup_size,
    }
}

/// Bytes of private memory that a compilation may use.
const MEMORY_BYTES: u64 = 4 << 30;
