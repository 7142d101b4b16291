//! What the broker reports, one line each.

use super::message_id::Kind;
use tracing::{error, info, warn};
use vkmps_broker::{Admission, Cause, Client, ClientLimits, Event};
use vkmps_protocol::handle::ProgramHash;
use vkmps_protocol::quota::Limit;

/// A line about a client: all of them say who it is, so that `journalctl VKMPS_UID=1000` has them all. Names and texts
/// that clients chose are quoted, control characters escaped.
macro_rules! client_line {
    ($level:ident, $line:expr, $client:expr, {$($fields:tt)*}, $($message:tt)+) => {
        tracing::$level!(
            MESSAGE_ID = $line.kind.id(),
            VKMPS_CLIENT = $client.session.map(|session| session.0),
            VKMPS_UID = $client.uid,
            VKMPS_PID = $client.pid,
            VKMPS_NAME = $client.name,
            $($fields)*
            VKMPS_SUPPRESSED = $line.suppressed,
            $($message)+
        )
    };
}

/// Whose doing an event is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doer<'a> {
    /// This client's.
    Client(&'a Client),
    /// Some client's.
    Someone,
    /// The device's, the driver's or an administrator's.
    Other,
}

/// What an event is, and whose doing.
pub(super) fn subject(event: &Event) -> (Kind, Doer<'_>) {
    match event {
        Event::ClientConnected { client, .. } => (Kind::ClientConnected, Doer::Client(client)),
        Event::ClientDisconnected { client, .. } => {
            (Kind::ClientDisconnected, Doer::Client(client))
        }
        Event::ConnectionRefused { client, .. } => (Kind::ConnectionRefused, Doer::Client(client)),
        Event::ProtocolViolation { client, .. } => (Kind::ProtocolViolation, Doer::Client(client)),
        Event::ProgramRegistered { client, .. } => (Kind::ProgramRegistered, Doer::Client(client)),
        Event::ProgramRefused { client, .. } => (Kind::ProgramRefused, Doer::Client(client)),
        Event::AllocationRefused { client, .. } => (Kind::AllocationRefused, Doer::Client(client)),
        Event::SubmitRefused { client, .. } => (Kind::SubmitRefused, Doer::Client(client)),
        Event::ProgramQuarantined { .. } => (Kind::ProgramQuarantined, Doer::Someone),
        // An administrator's doing, or the client's own user's, over and over.
        Event::PriorityChanged { client, .. } => (Kind::PriorityChanged, Doer::Client(client)),
        Event::LimitsChanged { client, .. } => (Kind::LimitsChanged, Doer::Client(client)),
        Event::Demoted { client, .. } => (Kind::Demoted, Doer::Client(client)),
        Event::UserLimitsChanged { .. } | Event::DefaultLimitsChanged { .. } => {
            (Kind::LimitsChanged, Doer::Other)
        }
        Event::EngineReady { .. } => (Kind::DeviceFound, Doer::Other),
        Event::EngineNotStarted { .. } => (Kind::NoDevice, Doer::Other),
        Event::DeviceLost { .. } => (Kind::DeviceLost, Doer::Someone),
        Event::EngineDied { .. } => (Kind::EngineDied, Doer::Other),
        Event::AdmissionChanged { admission, .. } => match admission {
            Admission::Closed => (Kind::Drained, Doer::Other),
            Admission::Open => (Kind::Resumed, Doer::Other),
        },
        Event::GroupOpened { owner, .. } => (Kind::SessionCreated, Doer::Client(owner)),
        Event::GroupEnded { owner, .. } => (Kind::SessionOver, Doer::Client(owner)),
        Event::Stopping { .. } => (Kind::Stopping, Doer::Other),
    }
}

/// What is the same in all lines.
#[derive(Debug, Clone, Copy)]
struct Line {
    kind: Kind,
    suppressed: Option<u64>,
}

/// Writes the line. `suppressed` lines of the kind were not written before it.
pub(super) fn write(event: &Event, suppressed: Option<u64>) {
    let (kind, _) = subject(event);
    let line = Line { kind, suppressed };
    match event {
        Event::ClientConnected { client, priority } => {
            let priority = priority.name();
            client_line!(info, line, client, { VKMPS_PRIORITY = %priority, }, "client connected");
        }
        Event::ClientDisconnected { client, cause } => disconnected(line, client, *cause),
        Event::ConnectionRefused { client, code, text } => {
            client_line!(warn, line, client, { VKMPS_CODE = ?code, VKMPS_REASON = text, }, "connection refused");
        }
        Event::ProtocolViolation { client, text } => {
            client_line!(warn, line, client, { VKMPS_REASON = text, }, "protocol violation");
        }
        Event::ProgramRegistered { client, hash } => {
            let hash = short(*hash);
            client_line!(info, line, client, { VKMPS_PROGRAM = %hash, }, "program registered");
        }
        Event::ProgramRefused {
            client, code, text, ..
        } => {
            client_line!(warn, line, client, { VKMPS_CODE = ?code, VKMPS_REASON = text, }, "program refused");
        }
        Event::AllocationRefused {
            client,
            bytes,
            class,
            code,
            text,
            ..
        } => {
            client_line!(
                warn,
                line,
                client,
                { VKMPS_BYTES = bytes, class = ?class, VKMPS_CODE = ?code, VKMPS_REASON = text, },
                "allocation refused"
            );
        }
        Event::SubmitRefused {
            client,
            stream,
            value,
            code,
            suppressed: by_engine,
        } => {
            let all = suppressed.unwrap_or(0).saturating_add((*by_engine).into());
            let suppressed = (all > 0).then_some(all);
            let line = Line { kind, suppressed };
            client_line!(warn, line, client, { stream = stream, value = value, VKMPS_CODE = ?code, }, "submit refused");
        }
        Event::PriorityChanged { client, from, to } => {
            let (from, to) = (from.name(), to.name());
            client_line!(info, line, client, { VKMPS_PRIORITY = %to, from = %from, }, "priority changed");
        }
        Event::LimitsChanged {
            client,
            limits,
            exceeded,
        } => limits_changed(line, client, limits, exceeded),
        Event::Demoted { client, demoted } => {
            let now = match demoted {
                true => "realtime budget used up, runs as high",
                false => "runs as realtime again",
            };
            client_line!(info, line, client, {}, "{now}");
        }
        Event::GroupOpened {
            group,
            owner,
            limits,
            ttl,
        } => client_line!(
            info,
            line,
            owner,
            { VKMPS_SESSION = group.0, limits = ?limits, ttl = ?ttl, },
            "session created"
        ),
        Event::GroupEnded { group, owner, end } => client_line!(
            info,
            line,
            owner,
            { VKMPS_SESSION = group.0, VKMPS_REASON = %end, },
            "session over"
        ),
        _ => of_daemon(event, line),
    }
}

/// A limit that the event before was about.
pub(super) fn write_limit(client: &Client, limit: Limit, suppressed: Option<u64>) {
    let limit = limit.name();
    let kind = Kind::LimitReached;
    let line = Line { kind, suppressed };
    client_line!(warn, line, client, { VKMPS_LIMIT = %limit, }, "limit reached");
}

/// More in use than there may be is something to know of.
fn limits_changed(line: Line, client: &Client, limits: &ClientLimits, exceeded: &[Limit]) {
    let ClientLimits {
        memory,
        cap_percent,
        weight,
        ..
    } = limits;
    match exceeded {
        [] => client_line!(
            info,
            line,
            client,
            { memory = ?memory, percentage = cap_percent, weight = weight, },
            "limits changed"
        ),
        _ => client_line!(
            warn,
            line,
            client,
            { VKMPS_LIMIT = %names(exceeded), memory = ?memory, percentage = cap_percent, weight = weight, },
            "limits changed to less than is in use"
        ),
    }
}

fn names(limits: &[Limit]) -> String {
    let names: Vec<&str> = limits.iter().map(|limit| limit.name()).collect();
    names.join(" ")
}

fn disconnected(line: Line, client: &Client, cause: Cause) {
    match cause {
        Cause::HangUp => {
            client_line!(info, line, client, { VKMPS_REASON = %cause, }, "client disconnected");
        }
        Cause::Terminated => {
            client_line!(warn, line, client, { VKMPS_REASON = %cause, }, "client {cause}");
        }
        Cause::Stalled => {
            client_line!(
                warn,
                line,
                client,
                { VKMPS_REASON = %cause, },
                "client does not read its socket, ended"
            );
        }
        Cause::Ended(code) => {
            client_line!(
                warn,
                line,
                client,
                { VKMPS_CODE = ?code, VKMPS_REASON = %cause, },
                "client's session ended"
            );
        }
    }
}

/// What no client is the subject of.
fn of_daemon(event: &Event, line: Line) {
    let id = line.kind.id();
    match event {
        Event::ProgramQuarantined { hash, text } => {
            let hash = short(*hash);
            warn!(
                MESSAGE_ID = id,
                VKMPS_PROGRAM = %hash,
                VKMPS_REASON = text,
                VKMPS_SUPPRESSED = line.suppressed,
                "program quarantined"
            );
        }
        Event::EngineReady {
            device,
            extensions,
            warnings,
            ranks,
        } => {
            info!(
                MESSAGE_ID = id,
                VKMPS_DEVICE = device.name,
                VKMPS_DRIVER = device.driver,
                VKMPS_QUEUES = device.queues,
                VKMPS_EXTENSIONS = extensions.join(" "),
                "engine ready"
            );
            for warning in warnings {
                super::sandbox_gap(warning);
            }
            for refusal in &ranks.refusals {
                info!(VKMPS_REASON = refusal, "hardware queues rank lower");
            }
        }
        Event::EngineNotStarted { text } => {
            error!(MESSAGE_ID = id, VKMPS_REASON = text, "no engine");
        }
        Event::DeviceLost { text } => {
            error!(
                MESSAGE_ID = id,
                VKMPS_REASON = text,
                VKMPS_SUPPRESSED = line.suppressed,
                "device lost"
            );
        }
        Event::EngineDied { reason, sessions } => {
            error!(
                MESSAGE_ID = id,
                VKMPS_REASON = reason,
                sessions,
                "engine died"
            );
        }
        Event::AdmissionChanged {
            admission: Admission::Closed,
            sessions,
        } => info!(MESSAGE_ID = id, sessions, "drained, newcomers are refused"),
        Event::AdmissionChanged {
            admission: Admission::Open,
            sessions,
        } => info!(MESSAGE_ID = id, sessions, "resumed, newcomers are let in"),
        Event::UserLimitsChanged {
            uid,
            limits,
            exceeded,
        } => match exceeded.as_slice() {
            [] => {
                info!(MESSAGE_ID = id, VKMPS_UID = uid, limits = ?limits, "limits of a user changed")
            }
            _ => warn!(
                MESSAGE_ID = id,
                VKMPS_UID = uid,
                VKMPS_LIMIT = %names(exceeded),
                limits = ?limits,
                "limits of a user changed to less than is in use"
            ),
        },
        Event::DefaultLimitsChanged { limits } => {
            info!(MESSAGE_ID = id, limits = ?limits, "default limits changed");
        }
        Event::Stopping { sessions } => info!(MESSAGE_ID = id, sessions, "stopping"),
        Event::ClientConnected { .. }
        | Event::ClientDisconnected { .. }
        | Event::ConnectionRefused { .. }
        | Event::ProtocolViolation { .. }
        | Event::ProgramRegistered { .. }
        | Event::ProgramRefused { .. }
        | Event::AllocationRefused { .. }
        | Event::SubmitRefused { .. }
        | Event::LimitsChanged { .. }
        | Event::Demoted { .. }
        | Event::GroupOpened { .. }
        | Event::GroupEnded { .. }
        | Event::PriorityChanged { .. } => {}
    }
}

fn short(hash: ProgramHash) -> String {
    hash.0[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
