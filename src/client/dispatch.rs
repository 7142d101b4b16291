//! What a submit runs.

use crate::program::Program;
use crate::slice::Slice;
use vkmps_protocol::program::Access;

/// One run of a program over a grid of workgroups, with its arguments. Checked when it is submitted; may be submitted
/// again and again.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub(crate) program: Program,
    pub(crate) groups: [u32; 3],
    pub(crate) push: Vec<u8>,
    pub(crate) bound: Vec<Bound>,
    next: u32,
}

/// A range of a buffer at a binding.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) set: u32,
    pub(crate) binding: u32,
    pub(crate) element: u32,
    pub(crate) slice: Slice,
    pub(crate) access: Access,
}

impl Dispatch {
    /// A run of `groups` workgroups by dimension. A dimension of 0 is legal: nothing runs.
    pub fn new(program: &Program, groups: [u32; 3]) -> Self {
        Self {
            program: program.clone(),
            groups,
            push: Vec::new(),
            bound: Vec::new(),
            next: 0,
        }
    }

    /// Sets the push constants: as many bytes as the program declares.
    #[must_use]
    pub fn push(mut self, bytes: &[u8]) -> Self {
        self.push.clear();
        self.push.extend_from_slice(bytes);
        self
    }

    /// Binds a range that the program reads to the next binding of set 0.
    #[must_use]
    pub fn read(self, slice: impl Into<Slice>) -> Self {
        self.next(slice, Access::Read)
    }

    /// Binds a range that the program writes to the next binding of set 0.
    #[must_use]
    pub fn write(self, slice: impl Into<Slice>) -> Self {
        self.next(slice, Access::Write)
    }

    /// Binds a range that the program reads and writes to the next binding of set 0.
    #[must_use]
    pub fn read_write(self, slice: impl Into<Slice>) -> Self {
        self.next(slice, Access::ReadWrite)
    }

    /// Binds a range to an element of any binding; does not change which binding is the next.
    #[must_use]
    pub fn bind(
        mut self,
        set: u32,
        binding: u32,
        element: u32,
        slice: impl Into<Slice>,
        access: Access,
    ) -> Self {
        self.bound.push(Bound {
            set,
            binding,
            element,
            slice: slice.into(),
            access,
        });
        self
    }

    fn next(mut self, slice: impl Into<Slice>, access: Access) -> Self {
        let binding = self.next;
        self.next += 1;
        self.bind(0, binding, 0, slice, access)
    }
}
