//! The worker processes: what each can be told to do.

use crate::backend::{Place, open_device};
use crate::bench::Device;
use crate::crew::inside;
use crate::error::Error;
use crate::{alloc, bandwidth, demo, idle, isolation, latency, startup, throughput};
use serde::{Deserialize, Serialize};
use vkmps_gpu::{DeviceKind, Instance};

/// A worker's whole life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Says which device there is.
    Probe { device: Option<usize> },
    /// Measures how long one dispatch takes, to choose its iterations.
    Calibrate {
        place: Place,
        kernel: throughput::Kernel,
        milliseconds: f64,
    },
    /// One client that submits and waits.
    Throughput(throughput::Client),
    /// The best that one process can do.
    Limit(throughput::Limit),
    /// Round trips.
    Latency(latency::Client),
    /// Copies.
    Bandwidth(bandwidth::Client),
    /// One dispatch, at once.
    Startup { place: Place },
    /// Connections that do nothing.
    Idle(idle::Clients),
    /// Allocations and frees.
    Alloc(alloc::Client),
    /// A client that is killed some day.
    Victim(isolation::Victim),
    /// All that a user may have.
    Claimant(isolation::Claimant),
    /// Bytes that should be somebody else's.
    Attacker(isolation::Attacker),
    /// Bytes that should be nobody else's.
    Checker(isolation::Checker),
    /// A share of the pictures.
    Demo(demo::Worker),
}

impl Task {
    /// What its process is to find in its environment.
    pub(crate) fn environment(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Throughput(client) => match &client.place {
                Place::Daemon { terms, .. } => terms.environment(),
                Place::Direct { .. } => None,
            },
            Self::Attacker(attacker) => Some(attacker.environment()),
            _ => None,
        }
    }
}

/// Runs the task that the parent passed on the command line.
pub(crate) fn run(task: &str) -> Result<(), Error> {
    match serde_json::from_str(task)? {
        Task::Probe { device } => probe(device),
        Task::Calibrate {
            place,
            kernel,
            milliseconds,
        } => throughput::calibrate(&place, kernel, milliseconds),
        Task::Throughput(client) => client.run(),
        Task::Limit(limit) => limit.run(),
        Task::Latency(client) => client.run(),
        Task::Bandwidth(client) => client.run(),
        Task::Startup { place } => startup::work(&place),
        Task::Idle(clients) => clients.run(),
        Task::Alloc(client) => client.run(),
        Task::Victim(victim) => victim.run(),
        Task::Claimant(claimant) => claimant.run(),
        Task::Attacker(attacker) => attacker.run(),
        Task::Checker(checker) => checker.run(),
        Task::Demo(worker) => worker.run(),
    }
}

fn probe(index: Option<usize>) -> Result<(), Error> {
    let info = Instance::load()?.choose(index)?;
    // Opening it finds what only vkCreateDevice can refuse, before anything is measured.
    let (device, _queues) = open_device(index, 1)?;
    inside::line_up()?;
    inside::say(&Device {
        name: device.info().name.clone(),
        driver: format!("{} {}", info.driver_name, info.driver_info),
        cpu: info.kind == DeviceKind::Cpu,
        unified: info.unified_memory,
        queues: info.compute_queues,
    })
}
