//! The driver's compilation of a pipeline: when it is created, or when it first runs.

use crate::batch::{Batch, Timing};
use crate::cache::PipelineCache;
use crate::device::Device;
use crate::error::{self, Error};
use crate::memory::{Kind, Memory};
use crate::pipeline::{Constant, Pipeline, PipelineDesc};
use crate::queue::{Queue, Wait};
use crate::record::Bind;
use ash::vk;
use std::ffi::CString;
use std::sync::Arc;

impl Pipeline {
    /// Makes the driver compile now whatever it would compile at the first dispatch, and waits for it.
    ///
    /// # Errors
    /// As [`Queue::submit_and_wait`].
    pub fn warm_up(self: &Arc<Self>, queue: &mut Queue) -> Result<(), Error> {
        let scratch = Memory::allocate(&self.device, SCRATCH_BYTES, Kind::HostVisible)?;
        let mut bindings = Vec::new();
        for (slot, description) in (0u32..).zip(&self.slots) {
            bindings.extend((0..description.count).map(|element| Bind {
                slot,
                element,
                memory: &scratch,
                offset: 0,
                range: SCRATCH_BYTES,
            }));
        }
        let push = vec![0; self.push_bytes as usize];
        let mut batch = Batch::for_queue(queue, Timing::Off)?;
        batch.begin()?;
        batch.dispatch(self, &bindings, &push, [0; 3], [0, 1, 1])?;
        batch.end()?;
        queue.submit_and_wait(&mut batch, Wait::Block)
    }

    pub(crate) fn compile(
        &mut self,
        desc: &PipelineDesc<'_>,
        cache: Option<&PipelineCache>,
    ) -> Result<(), Error> {
        let entry = CString::new(desc.entry)
            .map_err(|_| Error::InvalidUse("the name of an entry point"))?;
        let (map, data) = specialization(desc.constants)?;
        let special = vk::SpecializationInfo::default()
            .map_entries(&map)
            .data(&data);
        let module = ShaderModule::new(&self.device, desc.words)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module.raw)
            .name(&entry)
            .specialization_info(&special);
        let create = [vk::ComputePipelineCreateInfo::default()
            .flags(vk::PipelineCreateFlags::DISPATCH_BASE)
            .stage(stage)
            .layout(self.layout)];
        let cache = cache.map_or(vk::PipelineCache::null(), |cache| cache.raw);
        // SAFETY: module, layout and cache are alive and of this device; names and constants live through the call. That
        // the module is valid and fits the layout is this crate's documented trust in the `spirv` crate.
        let made = unsafe {
            self.device
                .raw
                .create_compute_pipelines(cache, &create, None)
        };
        let made =
            made.map_err(|(_, result)| error::compile("vkCreateComputePipelines")(result))?;
        self.raw = made.first().copied().unwrap_or_default();
        Ok(())
    }
}

/// A shader module for the time of one compilation.
struct ShaderModule<'a> {
    device: &'a Device,
    raw: vk::ShaderModule,
}

impl<'a> ShaderModule<'a> {
    fn new(device: &'a Device, words: &[u32]) -> Result<Self, Error> {
        let create = vk::ShaderModuleCreateInfo::default().code(words);
        // SAFETY: the device is alive, the words live through the call and form whole instructions (module::check).
        let raw = unsafe { device.raw.create_shader_module(&create, None) }
            .map_err(error::compile("vkCreateShaderModule"))?;
        Ok(Self { device, raw })
    }
}

impl Drop for ShaderModule<'_> {
    fn drop(&mut self) {
        // SAFETY: pipelines do not need the module once they are created.
        unsafe { self.device.raw.destroy_shader_module(self.raw, None) };
    }
}

fn specialization(
    constants: &[Constant],
) -> Result<(Vec<vk::SpecializationMapEntry>, Vec<u8>), Error> {
    let (mut map, mut data) = (Vec::new(), Vec::new());
    for (place, constant) in constants.iter().enumerate() {
        if !matches!(constant.size, 1 | 2 | 4 | 8)
            || constants[..place].iter().any(|c| c.id == constant.id)
        {
            return Err(Error::InvalidUse("size or id of a specialization constant"));
        }
        let size = usize::from(constant.size);
        let offset =
            u32::try_from(data.len()).map_err(|_| Error::InvalidUse("too many constants"))?;
        map.push(
            vk::SpecializationMapEntry::default()
                .constant_id(constant.id)
                .offset(offset)
                .size(size),
        );
        data.extend_from_slice(&constant.value.to_le_bytes()[..size]);
    }
    Ok((map, data))
}

/// What every slot is bound to during a warm-up.
const SCRATCH_BYTES: u64 = 4096;
