//! The gate every shader passes before the shared device sees it. Pure: no I/O, no device, no clock.
//!
//! [`prepare`] takes a client's SPIR-V and returns words that are safe to hand to the driver together with what
//! they need, or the [`Refusal`] to tell the client. In this order:
//!
//! 1. `scan`: size, header, and the depths that a recursive reader must not be led into;
//! 2. `debug`: names, strings and lines go; `validate`: spirv-val, in process;
//! 3. `parse`: into rspirv's data representation;
//! 4. `gate`: the allow-list of capabilities, extensions, storage classes and modes;
//! 5. `specialise`: the client's specialization constants become the module's defaults, their ids vanish;
//! 6. `select`: one compute entry point and what it reaches stay, everything else goes (other entry points,
//!    unreached functions, unused variables);
//! 7. `reflect`: bindings, push constants and workgroup, against the limits of the device;
//! 8. `renumber`: the client's (set, binding) pairs become bindings 0, 1, 2... of set 0;
//! 9. `instrument`: what a module claims of itself is dropped (`promises`), what it reads is initialised
//!    (`initialise`), what it indexes is clamped (`clamp`), its grid can be cut (`grid`), its loops end (`guard`);
//! 10. `validate` again, since a wrong rewrite must not reach the driver.
//!
//! Nothing here trusts a module's own claims where the code can be asked: an unread buffer is one that no
//! instruction reads, not one that is decorated so.

mod access;
mod calls;
mod charge;
mod clamp;
mod code;
mod constants;
mod counted;
mod daemon_set;
mod debug;
mod decorations;
mod descriptors;
mod edit;
mod facts;
mod flow;
mod gate;
mod grid;
mod guard;
mod initialise;
mod instrument;
mod layout;
mod limits;
mod parse;
mod promises;
mod reflect;
mod refusal;
mod renumber;
mod report;
mod scan;
mod select;
mod specialise;
mod splice;
mod target;
mod trips;
mod validate;

#[cfg(test)]
mod hardening;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use daemon_set::{
    CONSTANTS_BINDING, DAEMON_SET, REPORTS_BINDING, WORDS_BINDING, uses_daemon_set,
};
pub use limits::{
    MAX_BINDINGS, MAX_EXPANDED_INSTRUCTIONS, MAX_FUNCTIONS, MAX_ID_BOUND, MAX_INVOCATION_BYTES,
    MAX_MODULE_BYTES, MAX_NESTING, MAX_SPEC_CONSTANTS,
};
pub use reflect::{Access, Binding, BindingKind, Interface};
pub use refusal::Refusal;
pub use specialise::{SpecConstant, SpecEntry};
pub use target::{Features, Target};

use rspirv::binary::Assemble;
use rspirv::dr::Module;
use rspirv::spirv::Word;

/// A module that passed the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The module to give to the driver, with entry point as asked for and no specialization constants left.
    pub words: Vec<u32>,
    /// What a dispatch of it must supply.
    pub interface: Interface,
}

/// Checks `module` for `target` and rewrites it for the shared device.
///
/// `module` is little-endian SPIR-V; `entry` names a compute entry point in it. `constants` are specialization
/// values as in `VkSpecializationInfo`: ids the module lacks are ignored, ids left out keep their defaults. The
/// values are frozen into the result, so that what was checked is what runs.
///
/// # Errors
///
/// A [`Refusal`] names the instruction or id at fault and what to do about it.
pub fn prepare(
    module: &[u8],
    entry: &str,
    constants: &[SpecConstant],
    target: &Target,
) -> Result<Prepared, Refusal> {
    let Admitted {
        mut module,
        calls,
        interface,
    } = admit(module, entry, constants, target)?;
    instrument::instrument(&mut module, &calls, interface.workgroup_size, target)?;
    let words = module.assemble();
    validate::validate(&words, target).map_err(Refusal::after_rewrite)?;
    Ok(Prepared { words, interface })
}

/// A module that passed the gate, before anything is added to it.
pub(crate) struct Admitted {
    pub(crate) module: Module,
    /// Its functions, callees first.
    pub(crate) calls: Vec<Word>,
    pub(crate) interface: Interface,
}

/// The gate: steps 1 to 8.
pub(crate) fn admit(
    module: &[u8],
    entry: &str,
    constants: &[SpecConstant],
    target: &Target,
) -> Result<Admitted, Refusal> {
    let words = debug::strip(&scan::words(module)?);
    validate::validate(&words, target)?;
    let mut parsed = parse::parse(&words)?;
    gate::check_declarations(&parsed, target)?;
    let spec_constants = specialise::freeze(&mut parsed.module, constants)?;
    let calls = select::keep_only(&mut parsed, entry)?;
    gate::check_contents(&parsed.module)?;
    let interface = reflect::interface(&parsed.module, &calls, spec_constants, target)?;
    renumber::into_set_zero(&mut parsed.module, &interface.descriptors);
    Ok(Admitted {
        module: parsed.module,
        calls,
        interface: interface.public,
    })
}
