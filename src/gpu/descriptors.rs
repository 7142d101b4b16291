//! Descriptor sets for pipelines whose descriptors can not be pushed: pools that a batch owns and resets as a whole.

use crate::device::Device;
use crate::error::{self, Error};
use crate::pipeline::Pipeline;
use ash::vk;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct DescriptorPools {
    device: Arc<Device>,
    pools: Vec<vk::DescriptorPool>,
    /// The pools before this one are full.
    current: usize,
}

impl DescriptorPools {
    pub(crate) fn new(device: &Arc<Device>) -> Self {
        Self {
            device: Arc::clone(device),
            pools: Vec::new(),
            current: 0,
        }
    }

    /// A set with the layout of this pipeline; it lives until the next reset.
    pub(crate) fn allocate(&mut self, pipeline: &Pipeline) -> Result<vk::DescriptorSet, Error> {
        let layouts = [pipeline.set_layout];
        loop {
            let fresh = self.current == self.pools.len();
            if fresh {
                self.grow(pipeline)?;
            }
            let info = vk::DescriptorSetAllocateInfo::default()
                .descriptor_pool(self.pools[self.current])
                .set_layouts(&layouts);
            // SAFETY: pool and layout are alive and of one device (Batch::dispatch checks it); `&mut self` excludes others.
            match unsafe { self.device.raw.allocate_descriptor_sets(&info) } {
                Ok(sets) => return Ok(sets.first().copied().unwrap_or_default()),
                Err(vk::Result::ERROR_OUT_OF_POOL_MEMORY | vk::Result::ERROR_FRAGMENTED_POOL)
                    if !fresh =>
                {
                    self.current += 1;
                }
                Err(result) => return Err(error::object("vkAllocateDescriptorSets")(result)),
            }
        }
    }

    /// Frees all sets.
    ///
    /// # Safety
    /// No submitted work that uses the sets is unfinished.
    pub(crate) unsafe fn reset(&mut self) -> Result<(), Error> {
        self.current = 0;
        for pool in &self.pools {
            let flags = vk::DescriptorPoolResetFlags::empty();
            // SAFETY: the pool is alive, `&mut self` excludes others, and the caller promises that its sets are unused.
            unsafe { self.device.raw.reset_descriptor_pool(*pool, flags) }
                .map_err(error::object("vkResetDescriptorPool"))?;
        }
        Ok(())
    }

    /// Destroys the pools.
    ///
    /// # Safety
    /// As [`DescriptorPools::reset`].
    pub(crate) unsafe fn destroy(&mut self) {
        for pool in self.pools.drain(..) {
            // SAFETY: the pool is alive and the caller promises that its sets are unused.
            unsafe { self.device.raw.destroy_descriptor_pool(pool, None) };
        }
    }

    /// One more pool, large enough for this pipeline.
    fn grow(&mut self, pipeline: &Pipeline) -> Result<(), Error> {
        let size = |kind, count| {
            vk::DescriptorPoolSize::default()
                .ty(kind)
                .descriptor_count(count)
        };
        let sizes = [
            size(
                vk::DescriptorType::STORAGE_BUFFER,
                pipeline.storage_count.max(STORAGE_PER_POOL),
            ),
            size(
                vk::DescriptorType::UNIFORM_BUFFER,
                pipeline.uniform_count.max(UNIFORM_PER_POOL),
            ),
        ];
        let create = vk::DescriptorPoolCreateInfo::default()
            .max_sets(SETS_PER_POOL)
            .pool_sizes(&sizes);
        // SAFETY: the device is alive and the sizes live through the call.
        let pool = unsafe { self.device.raw.create_descriptor_pool(&create, None) }
            .map_err(error::object("vkCreateDescriptorPool"))?;
        self.pools.push(pool);
        Ok(())
    }
}

/// One pool serves a batch of ordinary size.
const SETS_PER_POOL: u32 = 256;
/// Four storage buffers per set.
const STORAGE_PER_POOL: u32 = 1024;
/// One uniform buffer per set.
const UNIFORM_PER_POOL: u32 = 256;
