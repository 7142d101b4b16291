//! Vulkan compute behind a safe API: devices, memory, pipelines, batches, queues and their completion.
//!
//! What the types guarantee, so that users can forbid unsafe code:
//! * Nothing is destroyed while the GPU uses it: a [`Batch`] keeps every [`Memory`] and [`Pipeline`] that it recorded
//!   until it is begun or released again, which is refused before its completion; dropping a batch waits.
//! * Everything holds its [`Device`], a device its [`Instance`]; they go last.
//! * What Vulkan wants synchronised from outside (queues, command pools) takes `&mut self`.
//! * Arguments are checked against Vulkan's valid-usage rules before a command is recorded.
//!
//! One thing is left to the user, because of a driver: join threads that used Vulkan before the last holder of a
//! [`Device`] goes. NVIDIA 580.159.04 can deadlock when such a thread exits while another is in vkDestroyDevice.
//!
//! What it cannot check: a SPIR-V module is examined for its structure only. Modules come from the `spirv` crate,
//! which validates and hardens them; a driver's behaviour on an invalid module is undefined.
#![allow(
    unsafe_code,
    reason = "the fence around Vulkan, which is an unsafe C API"
)]

mod allocation;
mod batch;
mod cache;
mod compile;
mod descriptors;
mod desk;
mod device;
mod error;
mod features;
mod info;
mod instance;
mod mapping;
mod memory;
mod module;
mod pipeline;
mod query;
mod queue;
mod queue_family;
mod record;
#[cfg(test)]
mod recording_driver;
mod remains;
mod standing;
mod timeline;

pub use batch::{Batch, Timing};
pub use cache::PipelineCache;
pub use desk::{MAX_BUDGET, Word};
pub use device::{Device, Options};
pub use error::{Error, Skipped, Wanted};
pub use features::{Extensions, Features};
pub use info::{DeviceInfo, DeviceKind, Limits, Subgroup};
pub use instance::Instance;
pub use memory::{Kind, Memory};
pub use pipeline::{Constant, Pipeline, PipelineDesc, Slot, SlotKind};
pub use queue::{MAX_BATCHES_PER_SUBMIT, Queue, Wait};
pub use record::{Bind, Part};
pub use remains::Remains;
pub use standing::{GlobalPriority, Ranking, Standing};
pub use timeline::{Timeline, wait_any};
