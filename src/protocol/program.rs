//! What a program asks of its dispatches, as reflected from its module.

use serde::{Deserialize, Serialize};

/// How a binding is seen by the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BindingKind {
    /// A storage buffer.
    Storage,
    /// A uniform buffer.
    Uniform,
}

/// What a command does with a range of memory. On the wire of commands: 1, 2, 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Only reads it.
    Read,
    /// Only writes it.
    Write,
    /// Reads and writes it.
    ReadWrite,
}

impl Access {
    /// Whether it may change memory.
    pub const fn writes(self) -> bool {
        !matches!(self, Access::Read)
    }

    /// The number in a [`crate::command::Binding`].
    pub const fn number(self) -> u8 {
        match self {
            Access::Read => 1,
            Access::Write => 2,
            Access::ReadWrite => 3,
        }
    }
}

impl TryFrom<u8> for Access {
    type Error = ();

    fn try_from(number: u8) -> Result<Self, ()> {
        match number {
            1 => Ok(Access::Read),
            2 => Ok(Access::Write),
            3 => Ok(Access::ReadWrite),
            _ => Err(()),
        }
    }
}

/// One binding of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingInfo {
    /// Descriptor set in the client's module.
    pub set: u32,
    /// Binding in that set.
    pub binding: u32,
    /// Elements of the array, 1 for a plain binding.
    pub count: u32,
    /// Buffer kind.
    pub kind: BindingKind,
    /// What the shader does with it.
    pub access: Access,
    /// Binding number in the rewritten module, where all client bindings are in set 0.
    pub slot: u32,
}

/// What dispatches of a program must bring.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interface {
    /// Sorted by set, then binding; every element must be bound.
    pub bindings: Vec<BindingInfo>,
    /// Bytes of push constants.
    pub push_bytes: u32,
    /// Invocations of a workgroup, by dimension.
    pub workgroup_size: [u32; 3],
}

/// One specialization constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Specialization {
    /// `SpecId` in the module.
    pub id: u32,
    /// Bits of the value; a constant narrower than 64 bits takes the low ones, a boolean is 0 or 1.
    pub value: u64,
}
