//! The log: where it goes, and what a line of each kind of event has.

use crate::config::{Config, Options};
use crate::startup::RunError;
use std::sync::Arc;
use tracing::{error, info, warn};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use vkmps_broker::{Admission, Cause, Client, Event};
use vkmps_bus::LogLevel;
use vkmps_protocol::handle::ProgramHash;

/// Opens the log. Without options warnings go to standard error; with a file, they go there.
pub(crate) fn start(options: &Options, config: &Config) -> Result<(), RunError> {
    let level = if options.log || options.log_path.is_some() {
        config.log.level
    } else {
        config.log.level.min(LogLevel::Warn)
    };
    let filter =
        EnvFilter::try_from_env("VKMPS_LOG").unwrap_or_else(|_| EnvFilter::new(level.name()));
    let to_stderr = options.log || options.log_path.is_none();
    let stderr = to_stderr.then(|| {
        layer()
            .with_ansi(false)
            .with_target(false)
            .with_writer(std::io::stderr)
    });
    let file = options.log_path.as_ref().map(|path| {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        file.map_err(|source| RunError::Log {
            path: path.clone(),
            source,
        })
    });
    let file = file.transpose()?.map(|file| {
        layer()
            .with_ansi(false)
            .with_target(false)
            .with_writer(Arc::new(file))
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(stderr)
        .with(file)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        // A daemon in an unknown state serves nobody; systemd starts another one.
        error!(%panic, "vkmpsd has a bug and stops");
        std::process::abort();
    }));
    Ok(())
}

/// One line for one event. Names and texts that clients chose are quoted, control characters escaped.
pub(crate) fn write(event: &Event) {
    match event {
        Event::ClientConnected { client, priority } => {
            let Client { uid, pid, name, .. } = client;
            info!(
                client = id(client),
                uid,
                pid,
                ?name,
                ?priority,
                "client connected"
            );
        }
        Event::ClientDisconnected { client, cause } => {
            let Client { uid, pid, name, .. } = client;
            match cause {
                Cause::HangUp => info!(client = id(client), uid, pid, ?name, "client disconnected"),
                Cause::Terminated => {
                    warn!(client = id(client), uid, pid, ?name, "client {cause}");
                }
                Cause::Stalled => {
                    warn!(
                        client = id(client),
                        uid,
                        pid,
                        ?name,
                        "client does not read its socket, ended"
                    );
                }
                Cause::Ended(code) => {
                    warn!(
                        client = id(client),
                        uid,
                        pid,
                        ?name,
                        ?code,
                        "client's session ended: {code}"
                    );
                }
            }
        }
        Event::ConnectionRefused { client, code, text } => {
            let Client { uid, pid, name, .. } = client;
            warn!(uid, pid, ?name, ?code, ?text, "connection refused");
        }
        Event::ProtocolViolation { client, text } => {
            let Client { uid, pid, name, .. } = client;
            warn!(
                client = id(client),
                uid,
                pid,
                ?name,
                ?text,
                "protocol violation"
            );
        }
        Event::ProgramRegistered { client, hash } => {
            info!(
                client = id(client),
                uid = client.uid,
                program = short(*hash),
                "program registered"
            );
        }
        Event::ProgramRefused {
            client, code, text, ..
        } => {
            warn!(
                client = id(client),
                uid = client.uid,
                ?code,
                ?text,
                "program refused"
            );
        }
        Event::ProgramQuarantined { hash, text } => {
            warn!(program = short(*hash), text, "program quarantined");
        }
        Event::AllocationRefused {
            client,
            bytes,
            class,
            code,
            text,
        } => {
            warn!(
                client = id(client),
                uid = client.uid,
                bytes,
                ?class,
                ?code,
                text,
                "allocation refused"
            );
        }
        Event::SubmitRefused {
            client,
            stream,
            value,
            code,
            suppressed,
        } => {
            warn!(
                client = id(client),
                uid = client.uid,
                stream,
                value,
                ?code,
                suppressed,
                "submit refused"
            );
        }
        Event::EngineReady {
            device,
            extensions,
            warnings,
        } => {
            let (name, driver, queues) = (&device.name, &device.driver, device.queues);
            info!(device = name, driver, queues, ?extensions, "engine ready");
            for check in warnings {
                warn!(check, "the engine's sandbox has a gap");
            }
        }
        Event::EngineNotStarted { text } => error!("no engine: {}", text.escape_debug()),
        Event::DeviceLost { text } => error!(text, "device lost"),
        Event::EngineDied { reason, sessions } => error!(reason, sessions, "engine died"),
        Event::PriorityChanged { client, from, to } => {
            info!(
                client = id(client),
                uid = client.uid,
                ?from,
                ?to,
                "priority changed"
            );
        }
        Event::AdmissionChanged {
            admission: Admission::Closed,
            sessions,
        } => info!(sessions, "drained, newcomers are refused"),
        Event::AdmissionChanged {
            admission: Admission::Open,
            sessions,
        } => info!(sessions, "resumed, newcomers are let in"),
        Event::Stopping { sessions } => info!(sessions, "stopping"),
    }
}

fn id(client: &Client) -> u64 {
    client.session.map_or(0, |session| session.0)
}

fn short(hash: ProgramHash) -> String {
    hash.0[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
