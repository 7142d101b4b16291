//! What NVIDIA's program prints, about ours.

use super::Server;
use super::process::Process;
use crate::exit::Exit;
use crate::status::Device;
use crate::text::escape;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Text, and how the program ends unless something before failed already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) exit: Exit,
}

impl Default for Answer {
    fn default() -> Self {
        Self::success(String::new())
    }
}

impl Answer {
    pub(super) fn success(text: String) -> Self {
        let exit = Exit::Success;
        Self { text, exit }
    }

    pub(super) fn failure(text: String) -> Self {
        let exit = Exit::Failure;
        Self { text, exit }
    }

    pub(super) fn no_server(pid: u32) -> Self {
        Self::failure(format!("Server {pid} not found\n"))
    }
}

pub(super) fn server_list(server: Option<&Server>) -> Answer {
    Answer::success(server.map_or(String::new(), |server| format!("{}\n", server.pid())))
}

pub(super) fn server_status(server: Option<&Server>, pid: Option<u32>) -> Answer {
    let Some(pid) = pid else {
        return Answer::failure("A server PID is required\n".to_owned());
    };
    let Some(server) = with_pid(server, pid) else {
        return Answer::no_server(pid);
    };
    let status = match server.status.engine.as_str() {
        "ready" => "ACTIVE",
        "starting" => "INITIALIZING",
        _ => "FAULT",
    };
    Answer::success(format!("{status}\n"))
}

/// Processes, each once.
pub(super) fn client_list(server: Option<&Server>, pid: u32) -> Answer {
    let Some(server) = with_pid(server, pid) else {
        return Answer::no_server(pid);
    };
    let mut seen = BTreeSet::new();
    let pids = server.clients.iter().map(|client| client.pid);
    let lines = pids
        .filter(|pid| seen.insert(*pid))
        .map(|pid| format!("{pid}\n"));
    Answer::success(lines.collect())
}

/// The device, then a line per session: process and session id.
pub(super) fn device_client_list(server: Option<&Server>, pid: Option<u32>) -> Answer {
    let server = match pid {
        Some(pid) => match with_pid(server, pid) {
            Some(server) => server,
            None => return Answer::no_server(pid),
        },
        None => match server {
            Some(server) => server,
            None => return Answer::default(),
        },
    };
    let mut text = String::new();
    if let Some(device) = server.device() {
        // The bus does not know where the device is.
        text = format!("[0] N/A, {}\n", escape(&device.name));
    }
    for client in &server.clients {
        line(&mut text, format_args!("{}.{}", client.pid, client.id));
    }
    Answer::success(text)
}

/// A line per session, with what `look` finds of its process.
pub(super) fn ps(
    server: Option<&Server>,
    pid: Option<u32>,
    look: impl Fn(u32) -> Process,
) -> Answer {
    let server = match (pid, server) {
        (Some(pid), server) => match with_pid(server, pid) {
            Some(server) => server,
            None => return Answer::no_server(pid),
        },
        (None, Some(server)) => server,
        // Nothing is wrong: nobody has needed one yet.
        (None, None) => return Answer::success("Server not found\n".to_owned()),
    };
    let device = server.device().map_or(String::new(), partial_uuid);
    let mut text = String::new();
    let mut row = |cells: [&str; 6]| {
        let [pid, id, server, device, namespace, command] = cells;
        line(
            &mut text,
            format_args!(
                "{pid:<9} {id:<9} {server:<14} {device:<25} {namespace:<14} {command:<15}"
            ),
        );
    };
    row(["PID", "ID", "SERVER", "DEVICE", "NAMESPACE", "COMMAND"]);
    for client in &server.clients {
        let process = look(client.pid);
        let namespace = process
            .namespace
            .map_or("N/A".to_owned(), |inode| inode.to_string());
        let command = escape(process.command.as_deref().unwrap_or(&client.name));
        row([
            &client.pid.to_string(),
            &client.id.to_string(),
            &server.pid().to_string(),
            &device,
            &namespace,
            &command,
        ]);
    }
    Answer::success(text)
}

/// What a server would use, and what the server uses.
pub(super) fn device_query(server: Option<&Server>, pid: Option<u32>, csv: bool) -> Answer {
    if let Some(pid) = pid
        && with_pid(server, pid).is_none()
    {
        return Answer::no_server(pid);
    }
    let device = server.and_then(Server::device);
    let mut text = "Default\n".to_owned();
    devices(&mut text, device, csv);
    if let Some(server) = server {
        line(&mut text, format_args!("\nServer {}", server.pid()));
        devices(&mut text, device, csv);
    }
    Answer::success(text)
}

/// How many sessions ended, in MPS's words: 0, or the number of an error that says that the client is none.
pub(super) fn terminated(sessions: usize) -> Answer {
    match sessions {
        0 => Answer {
            text: "201\n".to_owned(),
            exit: Exit::NoSuchClient,
        },
        _ => Answer::success("0\n".to_owned()),
    }
}

pub(super) fn terminate_unknown_server(pid: u32) -> Answer {
    Answer::failure(format!(
        "Server {pid} not found\nServer {pid} not found!\n1\n"
    ))
}

fn with_pid(server: Option<&Server>, pid: u32) -> Option<&Server> {
    server.filter(|server| server.pid() == pid)
}

/// A table of the one device.
fn devices(text: &mut String, device: Option<&Device>, csv: bool) {
    const TITLES: [&str; 5] = ["Device Ordinal", "PCI IDs", "UUID", "Name", "Attributes"];
    let row = device.map(|device| {
        let attributes = if device.software { "SOFTWARE" } else { "N/A" };
        let uuid = format!("GPU-{}", escape(&device.uuid));
        ["0", "N/A", &uuid, &escape(&device.name), attributes].map(str::to_owned)
    });
    let rows = [Some(TITLES.map(str::to_owned)), row].into_iter().flatten();
    for [ordinal, pci, uuid, name, attributes] in rows {
        match csv {
            true => {
                let (uuid, name) = (quoted(&uuid), quoted(&name));
                line(
                    text,
                    format_args!("{ordinal},{pci},{uuid},{name},{attributes}"),
                );
            }
            false => line(
                text,
                format_args!("{ordinal:<14}  {pci:<13}  {uuid:<40}  {name:<32}  {attributes}"),
            ),
        }
    }
}

/// A cell of comma-separated values (RFC 4180).
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// As much of the device's UUID as MPS shows.
fn partial_uuid(device: &Device) -> String {
    let groups: Vec<&str> = device.uuid.splitn(4, '-').take(3).collect();
    escape(&format!("GPU-{}", groups.join("-")))
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests;
