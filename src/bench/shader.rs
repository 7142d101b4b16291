//! The compute shaders of `shaders/`, with the interface that each declares.

use vkmps::Access;

/// A module with one entry point `main`, buffers at bindings 0, 1, ... of set 0, and push constants.
#[derive(Debug)]
pub(crate) struct Shader {
    pub(crate) module: &'static [u8],
    pub(crate) buffers: &'static [Access],
    pub(crate) push_bytes: u32,
}

impl Shader {
    /// The module as Vulkan takes it.
    pub(crate) fn words(&self) -> Vec<u32> {
        self.module
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect()
    }
}

/// One workgroup of one thread that does nothing.
pub(crate) const NOOP: Shader = Shader {
    module: include_bytes!("../../shaders/noop.spv"),
    buffers: &[],
    push_bytes: 0,
};

/// 256 threads per workgroup, each `x = fma(x, 1.0000001, 0.5)` so many times over its number.
pub(crate) const FMA_LOOP: Shader = Shader {
    module: include_bytes!("../../shaders/fma_loop.spv"),
    buffers: &[Access::ReadWrite],
    push_bytes: 4,
};

/// 64 threads per workgroup, c = a + b.
pub(crate) const VECTOR_ADD: Shader = Shader {
    module: include_bytes!("../../shaders/vector_add.spv"),
    buffers: &[Access::Read, Access::Read, Access::Write],
    push_bytes: 4,
};

/// 16 x 16 threads per workgroup, one tile.
pub(crate) const MANDELBROT: Shader = Shader {
    module: include_bytes!("../../shaders/mandelbrot.spv"),
    buffers: &[Access::Write],
    push_bytes: 40,
};

/// 16 x 16 threads per workgroup, one strip of rows.
pub(crate) const BLUR: Shader = Shader {
    module: include_bytes!("../../shaders/blur.spv"),
    buffers: &[Access::Read, Access::Write],
    push_bytes: 16,
};

/// 16 x 16 threads per workgroup, one strip of rows.
pub(crate) const EDGES: Shader = Shader {
    module: include_bytes!("../../shaders/edges.spv"),
    buffers: &[Access::Read, Access::Write],
    push_bytes: 16,
};
