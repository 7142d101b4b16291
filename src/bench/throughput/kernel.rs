//! What one dispatch of the throughput scenario is.

use crate::shader::{self, Shader};
use serde::{Deserialize, Serialize};

/// A shader with its grid.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Kernel {
    kind: Kind,
    /// Workgroups in x.
    pub(crate) groups: u32,
    /// Loop passes of the fma kernel; 0 for the others.
    pub(crate) iterations: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Noop,
    FmaLoop,
    VectorAdd,
}

impl Kernel {
    pub(crate) fn noop() -> Self {
        Self {
            kind: Kind::Noop,
            groups: 1,
            iterations: 0,
        }
    }

    pub(crate) fn fma(groups: u32, iterations: u32) -> Self {
        Self {
            kind: Kind::FmaLoop,
            groups,
            iterations,
        }
    }

    /// 1 Ki numbers.
    pub(crate) fn vector_add() -> Self {
        Self {
            kind: Kind::VectorAdd,
            groups: 16,
            iterations: 0,
        }
    }

    /// Whether a dispatch does nothing, so that only its submission costs.
    pub(crate) fn is_empty(&self) -> bool {
        self.kind == Kind::Noop
    }

    /// Whether a buffer shows how many dispatches it saw.
    pub(crate) fn counts(&self) -> bool {
        self.kind == Kind::FmaLoop
    }

    pub(crate) fn shader(&self) -> &'static Shader {
        match self.kind {
            Kind::Noop => &shader::NOOP,
            Kind::FmaLoop => &shader::FMA_LOOP,
            Kind::VectorAdd => &shader::VECTOR_ADD,
        }
    }

    /// Numbers in each buffer.
    pub(crate) fn elements(&self) -> u32 {
        match self.kind {
            Kind::Noop => 0,
            Kind::FmaLoop => self.groups * 256,
            Kind::VectorAdd => self.groups * 64,
        }
    }

    pub(crate) fn buffer_bytes(&self) -> u64 {
        u64::from(self.elements()) * 4
    }

    pub(crate) fn push(&self) -> Vec<u8> {
        match self.kind {
            Kind::Noop => Vec::new(),
            Kind::FmaLoop => self.iterations.to_le_bytes().to_vec(),
            Kind::VectorAdd => self.elements().to_le_bytes().to_vec(),
        }
    }
}
