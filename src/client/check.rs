//! Checks of commands before they leave the process, so that mistakes are errors at once and with a reason. The engine
//! trusts none of them and checks again.

use crate::connection::Connection;
use crate::dispatch::{Bound, Dispatch};
use crate::error::Error;
use crate::slice::Slice;
use std::sync::Arc;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::{Binding, Encoder};
use vkmps_protocol::limits::MAX_BINDINGS;
use vkmps_protocol::message::DeviceDescription;
use vkmps_protocol::program::{Access, BindingInfo, BindingKind, Interface};

/// Checks and encodes a dispatch.
pub(crate) fn dispatch(
    connection: &Arc<Connection>,
    dispatch: &Dispatch,
    encoder: &mut Encoder,
) -> Result<(), Error> {
    let Dispatch {
        program,
        groups,
        push,
        bound,
        ..
    } = dispatch;
    program.belongs_to(connection)?;
    let (device, interface) = (connection.device(), program.interface());
    if groups
        .iter()
        .zip(&device.max_groups)
        .any(|(count, limit)| count > limit)
    {
        let limit = device.max_groups;
        return Err(Error::new(
            ErrorCode::GroupCount,
            format!("{groups:?} workgroups, at most {limit:?}"),
        ));
    }
    if push.len() != interface.push_bytes as usize {
        let text = format!(
            "{} bytes for a program that takes {}",
            push.len(),
            interface.push_bytes
        );
        return Err(Error::new(ErrorCode::PushConstantMismatch, text));
    }
    let elements: u64 = interface
        .bindings
        .iter()
        .map(|info| u64::from(info.count))
        .sum();
    if bound.len() as u64 != elements || bound.len() > MAX_BINDINGS {
        let text = format!("{} bound for a program that takes {elements}", bound.len());
        return Err(Error::new(ErrorCode::BindingMismatch, text));
    }
    let mut bindings = [NO_BINDING; MAX_BINDINGS];
    for (index, one) in bound.iter().enumerate() {
        let same = |other: &&Bound| {
            (other.set, other.binding, other.element) == (one.set, one.binding, one.element)
        };
        if bound[..index].iter().any(|other| same(&other)) {
            return Err(mismatch(one, "is bound twice"));
        }
        one.slice.buffer.belongs_to(connection)?;
        bindings[index] = binding(device, interface, one)?;
    }
    encoder
        .dispatch(
            program.id(),
            *groups,
            [0; 3],
            push,
            &bindings[..bound.len()],
        )
        .map_err(Error::from)
}

/// Checks a range that a copy, fill or update works on.
pub(crate) fn transfer(connection: &Arc<Connection>, slice: &Slice) -> Result<(), Error> {
    slice.buffer.belongs_to(connection)?;
    slice.check()
}

/// As [`transfer`], for one that it writes.
pub(crate) fn target(connection: &Arc<Connection>, slice: &Slice) -> Result<(), Error> {
    transfer(connection, slice)?;
    slice.buffer.may_be_written()
}

/// Checks that a range is made of whole words, as fills and updates need it.
pub(crate) fn words(slice: &Slice) -> Result<(), Error> {
    if slice.offset.is_multiple_of(4) && slice.bytes.is_multiple_of(4) {
        return Ok(());
    }
    let text = format!(
        "{} bytes from {}: neither may be other than a multiple of 4",
        slice.bytes, slice.offset
    );
    Err(Error::new(ErrorCode::InvalidArgument, text))
}

fn binding(
    device: &DeviceDescription,
    interface: &Interface,
    bound: &Bound,
) -> Result<Binding, Error> {
    let known = |info: &&BindingInfo| (info.set, info.binding) == (bound.set, bound.binding);
    let info = interface
        .bindings
        .iter()
        .find(known)
        .ok_or_else(|| mismatch(bound, "is not one of the program's"))?;
    if bound.element >= info.count {
        return Err(mismatch(bound, "is beyond the end of the array"));
    }
    if !covers(bound.access, info.access) {
        let text = format!(
            "is declared {:?}, the program's access is {:?}",
            bound.access, info.access
        );
        return Err(mismatch(bound, &text));
    }
    let (set, number, element) = (
        u16::try_from(bound.set),
        u16::try_from(bound.binding),
        u16::try_from(bound.element),
    );
    let (Ok(set), Ok(number), Ok(element)) = (set, number, element) else {
        return Err(mismatch(
            bound,
            "has a larger number than the protocol knows",
        ));
    };
    check_slice(device, info.kind, bound)?;
    if bound.access.writes() {
        bound.slice.buffer.may_be_written()?;
    }
    let Slice {
        buffer,
        offset,
        bytes,
    } = &bound.slice;
    Ok(Binding {
        buffer: buffer.allocation().id.0,
        offset: *offset,
        range: *bytes,
        set,
        binding: number,
        element,
        access: bound.access.number(),
        reserved: 0,
    })
}

fn check_slice(device: &DeviceDescription, kind: BindingKind, bound: &Bound) -> Result<(), Error> {
    let Slice { offset, bytes, .. } = bound.slice;
    bound.slice.check()?;
    let (alignment, most) = match kind {
        BindingKind::Storage => (device.storage_alignment, device.max_storage_range),
        BindingKind::Uniform => (device.uniform_alignment, device.max_uniform_range),
    };
    let place = format!("set {} binding {}", bound.set, bound.binding);
    if bytes == 0 || bytes > most {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("{place}: {bytes} bytes, must be 1 to {most}"),
        ));
    }
    if !offset.is_multiple_of(alignment.max(1).into()) {
        let text = format!("{place}: offset {offset} is no multiple of {alignment}");
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    }
    Ok(())
}

fn covers(declared: Access, reflected: Access) -> bool {
    declared.number() & reflected.number() == reflected.number()
}

fn mismatch(bound: &Bound, what: &str) -> Error {
    let Bound {
        set,
        binding,
        element,
        ..
    } = bound;
    Error::new(
        ErrorCode::BindingMismatch,
        format!("set {set} binding {binding} element {element} {what}"),
    )
}

const NO_BINDING: Binding = Binding {
    buffer: 0,
    offset: 0,
    range: 0,
    set: 0,
    binding: 0,
    element: 0,
    access: 0,
    reserved: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_access_covers_what_the_program_does() {
        use Access::{Read, ReadWrite, Write};
        for (declared, reflected, expected) in [
            (Read, Read, true),
            (Read, Write, false),
            (Read, ReadWrite, false),
            (Write, Read, false),
            (Write, Write, true),
            (Write, ReadWrite, false),
            (ReadWrite, Read, true),
            (ReadWrite, Write, true),
            (ReadWrite, ReadWrite, true),
        ] {
            assert_eq!(
                covers(declared, reflected),
                expected,
                "{declared:?} over {reflected:?}"
            );
        }
    }
}
