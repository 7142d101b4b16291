//! `vkmpsctl monitor`: what happens, a line each, until it is interrupted.

use crate::clients::now_us;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Format;
use crate::service::{Presence, Service};
use crate::text::escape;
use crate::units;
use crate::users::Users;
use crate::watch::{Happening, Watch, next};
use serde::Serialize;
use serde_json::Value;
use zbus::message::Message;
use zbus::{OwnedObjectPath, Variant};

/// What happened; the keys are those of the JSON.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    ServiceStarted,
    ServiceStopped,
    ClientAdded {
        client: u64,
        object: OwnedObjectPath,
        uid: u32,
    },
    ClientRemoved {
        client: u64,
        object: OwnedObjectPath,
        reason: String,
    },
    DeviceFault {
        reason: String,
        sessions: u32,
    },
    LimitReached {
        client: u64,
        uid: u32,
        limit: String,
    },
    PropertyChanged {
        property: String,
        value: Value,
    },
}

#[derive(Debug, Serialize)]
struct Line {
    time_us: u64,
    #[serde(flatten)]
    event: Event,
}

/// Prints the state as it is, then what changes. A service that comes and goes is followed, and never started.
pub(crate) async fn run(service: &Service, format: Format) -> Result<(), Error> {
    let interrupt = Interrupt::new()?;
    let mut interrupted = std::pin::pin!(interrupt.wait());
    let mut signals = service.manager().inner().receive_all_signals().await?;
    let mut watch = Watch::new(service).await?;
    let mut users = Users::default();
    let mut show = |event| {
        let time_us = now_us();
        let line = Line { time_us, event };
        format.show(&line, |_| render(&line, &mut users))
    };
    match service.presence().await? {
        Presence::Running => show(Event::PropertyChanged {
            property: "State".to_owned(),
            value: service.manager().state().await?.into(),
        })?,
        Presence::Startable => show(Event::ServiceStopped)?,
        Presence::Absent => return Err(Error::Absent),
    }
    loop {
        tokio::select! {
            // Signals before properties, as far as both are here.
            biased;
            () = &mut interrupted => return Ok(()),
            message = next(&mut signals) => {
                if let Some(event) = event(&message.ok_or(Error::BusClosed)?) {
                    show(event)?;
                }
            }
            happening = watch.next() => match happening? {
                Happening::Came => show(Event::ServiceStarted)?,
                Happening::Left => show(Event::ServiceStopped)?,
                Happening::Changed(change) => {
                    let Ok(change) = change.args() else { continue };
                    for (property, value) in &change.changed_properties {
                        show(Event::PropertyChanged {
                            property: (*property).to_owned(),
                            value: json(value),
                        })?;
                    }
                }
            }
        }
    }
}

/// What a signal says; nothing if it is of a later version.
fn event(message: &Message) -> Option<Event> {
    let body = message.body();
    let header = message.header();
    match header.member()?.as_str() {
        "ClientAdded" => {
            let (client, object, uid) = body.deserialize().ok()?;
            Some(Event::ClientAdded {
                client,
                object,
                uid,
            })
        }
        "ClientRemoved" => {
            let (client, object, reason) = body.deserialize().ok()?;
            Some(Event::ClientRemoved {
                client,
                object,
                reason,
            })
        }
        "DeviceFault" => {
            let (reason, sessions) = body.deserialize().ok()?;
            Some(Event::DeviceFault { reason, sessions })
        }
        "LimitReached" => {
            let (client, uid, limit) = body.deserialize().ok()?;
            Some(Event::LimitReached { client, uid, limit })
        }
        _ => None,
    }
}

/// Of the types that the manager's properties have.
fn json(value: &Variant<'_>) -> Value {
    match value {
        Variant::Str(text) => text.as_str().into(),
        Variant::Bool(value) => (*value).into(),
        Variant::U32(value) => (*value).into(),
        Variant::U64(value) => (*value).into(),
        other => other.to_string().into(),
    }
}

fn render(line: &Line, users: &mut Users) -> String {
    let text = match &line.event {
        Event::ServiceStarted => "vkmpsd started".to_owned(),
        Event::ServiceStopped => "vkmpsd does not run".to_owned(),
        Event::ClientAdded { client, uid, .. } => {
            format!("client {client} of {} connected", users.name_and_uid(*uid))
        }
        Event::ClientRemoved { client, reason, .. } => {
            format!("client {client} left: {}", escape(reason))
        }
        Event::DeviceFault { reason, sessions } => {
            let sessions = units::count(u64::from(*sessions), "client");
            format!("device fault, {sessions} lost: {}", escape(reason))
        }
        Event::LimitReached { client, uid, limit } => {
            let user = users.name_and_uid(*uid);
            let limit = escape(limit);
            match client {
                0 => format!("a new client of {user} reached its limit of {limit}"),
                client => format!("client {client} of {user} reached its limit of {limit}"),
            }
        }
        Event::PropertyChanged { property, value } => {
            let value = match value {
                Value::String(text) => escape(text),
                value => value.to_string(),
            };
            format!("{} is {value}", escape(property))
        }
    };
    format!("{}  {text}\n", units::utc(line.time_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: Event) -> String {
        let line = Line {
            time_us: 1_795_192_201_000_000,
            event,
        };
        let text = render(&line, &mut Users::of([(1000, "ada")]));
        let text = text.strip_prefix("2026-11-20 16:30:01 UTC  ");
        text.expect("a line begins with the time").to_owned()
    }

    #[test]
    fn every_event_is_one_line() {
        let object = vkmps_bus::client_path(5);
        let reason = "went\naway".to_owned();
        let lines = [
            text(Event::ServiceStopped),
            text(Event::ClientAdded {
                client: 5,
                object: object.clone(),
                uid: 1000,
            }),
            text(Event::ClientRemoved {
                client: 5,
                object,
                reason: reason.clone(),
            }),
            text(Event::DeviceFault {
                reason,
                sessions: 2,
            }),
            text(Event::LimitReached {
                client: 0,
                uid: 1000,
                limit: "clients".into(),
            }),
            text(Event::PropertyChanged {
                property: "State".into(),
                value: "\x1b[0m".into(),
            }),
            text(Event::PropertyChanged {
                property: "ClientCount".into(),
                value: 3.into(),
            }),
        ];
        assert_eq!(
            lines.concat(),
            "vkmpsd does not run
client 5 of ada (1000) connected
client 5 left: went\\naway
device fault, 2 clients lost: went\\naway
a new client of ada (1000) reached its limit of clients
State is \\u{1b}[0m
ClientCount is 3
"
        );
    }
}
