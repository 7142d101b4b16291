//! `--check-sandbox`: closes the sandbox as for serving, then tries to get out of it.

use crate::Options;
use crate::device;
use crate::engine::Failure;
use vkmps_ipc::socket::Seqpacket;
use vkmps_sandbox::probe::Probes;

/// Tells vkmpsd of each attempt: what was tried, what became of it, whether that is as it should be.
pub(crate) fn run(control: &Seqpacket, options: &Options) -> Result<(), Failure> {
    let tell = |probe: &str, outcome: String, good: bool| {
        let message = vkmps_protocol::encode(&(probe, outcome, good))
            .map_err(|_| Failure::Daemon("a finding is too long to be told"))?;
        Ok::<(), Failure>(control.send(&message, &[])?)
    };
    let probes = Probes::prepare(options.role(), &options.reach());
    let opened = options.enclose().map_err(Failure::from).map(|enclosed| {
        // Its threads are part of what is checked.
        (enclosed, device::open(options, options.queues))
    });
    let sealed = opened.and_then(|(enclosed, device)| {
        let driver = match &device {
            Ok((device, _)) => device.info().name.clone(),
            Err(error) => format!("none: {error}"),
        };
        tell("driver", driver, true)?;
        Ok((enclosed.seal()?, device))
    });
    let (report, device) = match sealed {
        Ok(sealed) => sealed,
        Err(failure) => return tell("self-test", failure.to_string(), false),
    };
    for warning in &report.warnings {
        tell("self-test", warning.clone(), false)?;
    }
    if report.warnings.is_empty() {
        tell("self-test", "passed".to_owned(), true)?;
    }
    tell("landlock", report.extent.to_string(), true)?;
    let mut told = Ok(());
    probes.run(|finding| {
        let outcome = finding.outcome;
        if told.is_ok() {
            told = tell(&finding.probe, outcome.to_string(), outcome.is_good());
        }
    });
    // As an engine's, the device is left to the kernel.
    std::mem::forget(device);
    told
}
