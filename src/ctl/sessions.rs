//! `vkmpsctl sessions` and `release`, and how a session stands in the list of clients.

use crate::clients::now_us;
use crate::complain;
use crate::error::Error;
use crate::output::Format;
use crate::paint::Paint;
use crate::service::Service;
use crate::status::used_of;
use crate::table::{Align, Table};
use crate::text::{escape, escape_or_dash};
use crate::units;
use crate::users::Users;
use serde_json::json;
use std::collections::HashMap;
use vkmps_bus::{ClientEntry, SessionEntry};

/// All sessions.
pub(crate) async fn list(service: &Service, format: Format) -> Result<(), Error> {
    let sessions = service.manager().list_sessions().await?;
    let now_us = now_us();
    format.show(&sessions, |paint| {
        render(&sessions, &mut Users::default(), now_us, paint)
    })
}

/// As many as can be; the first failure decides the exit status.
pub(crate) async fn release(
    service: &Service,
    sessions: &[u64],
    format: Format,
) -> Result<(), Error> {
    let mut released = Vec::new();
    let mut exit = None;
    for &session in sessions {
        let outcome: Result<(), Error> = service.guarded("ReleaseSession", &session).await;
        match outcome {
            Ok(()) => released.push(session),
            Err(error) => {
                let error = match error {
                    Error::UnknownSession(_) => Error::NoSuchSession(session),
                    error => error,
                };
                complain("vkmpsctl", &error);
                exit = exit.or(Some(error.exit()));
            }
        }
    }
    format.show(&json!({"released": released}), |_| String::new())?;
    exit.map_or(Ok(()), |exit| Err(Error::Reported(exit)))
}

/// A line of the list of clients.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// In the column of numbers.
    pub(crate) name: String,
    pub(crate) client: ClientEntry,
}

/// The clients of each session become one line, where the first of them stands.
pub(crate) fn fold(clients: Vec<ClientEntry>, sessions: &[SessionEntry]) -> Vec<Line> {
    let members = sessions.iter().flat_map(|session| {
        let ids = session.clients.iter();
        ids.map(move |id| (*id, session))
    });
    let members: HashMap<u64, &SessionEntry> = members.collect();
    let mut lines: Vec<Line> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    for client in clients {
        let Some(session) = members.get(&client.id) else {
            let name = client.id.to_string();
            lines.push(Line { name, client });
            continue;
        };
        match places.get(&session.id) {
            Some(place) => add(&mut lines[*place].client, &client),
            None => {
                places.insert(session.id, lines.len());
                lines.push(Line {
                    name: format!("session {}", session.id),
                    client: together(client, session),
                });
            }
        }
    }
    lines
}

/// A session, told as if it were a client; the counters are those of its first client.
fn together(first: ClientEntry, session: &SessionEntry) -> ClientEntry {
    let count = units::count(session.clients.len() as u64, "client");
    ClientEntry {
        uid: session.uid,
        pid: session.pid,
        name: format!("{} ({count})", session.name),
        connected_since_us: session.created_us,
        ..first
    }
}

fn add(sum: &mut ClientEntry, client: &ClientEntry) {
    sum.memory_used_bytes += client.memory_used_bytes;
    sum.dispatches += client.dispatches;
    sum.queue_depth = sum.queue_depth.saturating_add(client.queue_depth);
    sum.device_time_ns = sum.device_time_ns.saturating_add(client.device_time_ns);
    for (sum, other) in [
        (&mut sum.unit, &client.unit),
        (&mut sum.priority, &client.priority),
    ] {
        if sum != other {
            "several".clone_into(sum);
        }
    }
}

fn render(sessions: &[SessionEntry], users: &mut Users, now_us: u64, paint: Paint) -> String {
    let mut table = Table::new([
        ("SESSION", Align::Right),
        ("PID", Align::Right),
        ("USER", Align::Left),
        ("CLIENTS", Align::Left),
        ("MEMORY", Align::Right),
        ("PERCENTAGE", Align::Right),
        ("PRIORITY", Align::Left),
        ("CREATED", Align::Right),
        ("ENDS IN", Align::Right),
        ("NAME", Align::Left),
    ]);
    for session in sessions {
        let clients: Vec<String> = session.clients.iter().map(u64::to_string).collect();
        let ends = match session.ends_us {
            0 => "-".to_owned(),
            ends_us => units::age_us(ends_us.saturating_sub(now_us)),
        };
        table.row([
            session.id.to_string(),
            session.pid.to_string(),
            users.name(session.uid),
            escape_or_dash(&clients.join(" ")),
            used_of(session.memory_used_bytes, session.memory_limit_bytes),
            format!("{} %", session.active_thread_percentage),
            escape(&session.priority),
            units::age_us(now_us.saturating_sub(session.created_us)),
            ends,
            escape(&session.name),
        ]);
    }
    table.lines(paint).join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64) -> ClientEntry {
        ClientEntry {
            id,
            uid: 1000,
            pid: 40,
            name: format!("client {id}"),
            unit: "a.scope".into(),
            priority: "low".into(),
            memory_used_bytes: 1 << 20,
            dispatches: id,
            queue_depth: 1,
            device_time_ns: 1000,
            connected_since_us: 5,
            object: vkmps_bus::client_path(id),
        }
    }

    fn session() -> SessionEntry {
        SessionEntry {
            id: 3,
            uid: 1000,
            pid: 7,
            name: "job\n".into(),
            clients: vec![2, 4],
            memory_used_bytes: 2 << 20,
            memory_limit_bytes: 64 << 20,
            active_thread_percentage: 30,
            priority: "low".into(),
            created_us: 1_000_000,
            ends_us: 63_000_000,
        }
    }

    #[test]
    fn the_clients_of_a_session_are_one_line_and_others_one_each() {
        let mut four = client(4);
        four.priority = "high".into();
        let lines = fold(vec![client(1), client(2), client(3), four], &[session()]);
        let names: Vec<&str> = lines.iter().map(|line| &*line.name).collect();
        assert_eq!(names, ["1", "session 3", "3"]);
        let together = &lines[1].client;
        assert_eq!(
            (together.memory_used_bytes, together.dispatches),
            (2 << 20, 6)
        );
        assert_eq!(
            (&*together.unit, &*together.priority),
            ("a.scope", "several")
        );
        assert_eq!((together.pid, &*together.name), (7, "job\n (2 clients)"));
    }

    #[test]
    fn a_session_is_shown_with_its_clients_and_its_end() {
        let mut users = Users::of([(1000, "ada")]);
        let text = render(&[session()], &mut users, 3_000_000, Paint::Never);
        assert_eq!(
            text,
            "SESSION  PID  USER  CLIENTS               MEMORY  PERCENTAGE  PRIORITY  CREATED     ENDS IN  NAME
      3    7  ada   2 4      2.0 MiB of 64.0 MiB        30 %  low           2 s  1 min 00 s  job\\n
"
        );
    }
}
