//! Submits, and waiting for them.

use crate::boundary::{array, borrow, export};
use crate::buffer::OK;
use crate::client::Session;
use crate::failure::Failure;
use std::ffi::{c_int, c_void};
use std::time::Duration;
use vkmps::{Access, Dispatch, Submission};

/// `vkmps_async_handle_t`: a submit that can be waited for without its client.
pub(crate) struct AsyncHandle(Submission);

export! {
    /// Submits a dispatch and returns its number in the client; 0 on failure.
    fn vkmps_submit(
        client: *mut Session,
        program: u64,
        groups_x: u32,
        groups_y: u32,
        groups_z: u32,
        push: *const c_void,
        push_size: usize,
        inputs: *const u64,
        input_count: usize,
        outputs: *const u64,
        output_count: usize,
    ) -> u64 {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise.
        let push = unsafe { array(push.cast::<u8>(), push_size, "push") }?;
        // SAFETY: the caller's promise.
        let inputs = unsafe { array(inputs, input_count, "in") }?;
        // SAFETY: the caller's promise.
        let outputs = unsafe { array(outputs, output_count, "out") }?;
        Ok(submit(session, program, [groups_x, groups_y, groups_z], push, inputs, outputs)?.value())
    }

    /// As `vkmps_submit`; NULL on failure. The caller owns the handle until `vkmps_submit_handle_free`.
    fn vkmps_submit_nb(
        client: *mut Session,
        program: u64,
        groups_x: u32,
        groups_y: u32,
        groups_z: u32,
        push: *const c_void,
        push_size: usize,
        inputs: *const u64,
        input_count: usize,
        outputs: *const u64,
        output_count: usize,
    ) -> *mut AsyncHandle {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        // SAFETY: the caller's promise.
        let push = unsafe { array(push.cast::<u8>(), push_size, "push") }?;
        // SAFETY: the caller's promise.
        let inputs = unsafe { array(inputs, input_count, "in") }?;
        // SAFETY: the caller's promise.
        let outputs = unsafe { array(outputs, output_count, "out") }?;
        let submission = submit(session, program, [groups_x, groups_y, groups_z], push, inputs, outputs)?;
        Ok(Box::into_raw(Box::new(AsyncHandle(submission))))
    }

    /// Waits for a submit.
    fn vkmps_wait(client: *mut Session, submission: u64, timeout_ns: u64) -> c_int {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        wait(&session.client.default_stream().submission(submission)?, timeout_ns)
    }

    /// Whether a submit is over.
    fn vkmps_poll(client: *mut Session, submission: u64) -> c_int {
        // SAFETY: the caller's promise.
        let session = unsafe { borrow(client, "client") }?;
        let over = session.client.default_stream().submission(submission)?.is_done()?;
        Ok(if over { OK } else { NOT_READY })
    }

    /// Waits for a submit by its handle.
    fn vkmps_submit_wait(handle: *mut AsyncHandle, timeout_ns: u64) -> c_int {
        // SAFETY: the caller's promise.
        wait(&unsafe { borrow(handle, "handle") }?.0, timeout_ns)
    }

    /// Frees a handle; the submit runs on. NULL is ignored.
    fn vkmps_submit_handle_free(handle: *mut AsyncHandle) -> () {
        if !handle.is_null() {
            // SAFETY: it came from `vkmps_submit_nb` and the caller gives it up.
            drop(unsafe { Box::from_raw(handle) });
        }
        Ok(())
    }
}

/// Inputs are bindings 0 and up of set 0, outputs follow.
fn submit(
    session: &Session,
    program: u64,
    groups: [u32; 3],
    push: &[u8],
    inputs: &[u64],
    outputs: &[u64],
) -> Result<Submission, Failure> {
    let program = session.programs.find(program)?;
    let mut dispatch = Dispatch::new(&program, groups).push(push);
    let inputs = inputs.iter().map(|buffer| (buffer, Access::Read));
    let outputs = outputs.iter().map(|buffer| (buffer, Access::Write));
    for (binding, (buffer, assumed)) in (0..).zip(inputs.chain(outputs)) {
        // C says in which direction data flows; what the shader does is what counts for order.
        let known = program
            .interface()
            .bindings
            .iter()
            .find(|info| (info.set, info.binding) == (0, binding));
        let access = known.map_or(assumed, |info| info.access);
        dispatch = dispatch.bind(0, binding, 0, session.buffers.find(*buffer)?, access);
    }
    Ok(session.client.submit(dispatch)?)
}

fn wait(submission: &Submission, timeout_ns: u64) -> Result<c_int, Failure> {
    match timeout_ns {
        0 | u64::MAX => submission.wait()?,
        limit => submission.wait_timeout(Duration::from_nanos(limit))?,
    }
    Ok(OK)
}

/// `VKMPS_NOT_READY`.
const NOT_READY: c_int = 1;
