//! `vkmps-control`: NVIDIA's MPS control language, answered about vkmpsd.
//!
//! What NVIDIA calls a server is our engine: the process that runs the driver. There is one, for all users.

mod answer;
mod command;
mod limit;
mod process;
mod quit;

use crate::error::Error;
use crate::exit::Exit;
use crate::output::write;
use crate::service::{Bus, Presence, Service};
use crate::status::{Device, Status};
use crate::{complain, text};
use answer::Answer;
use clap::Parser;
use command::Command;
use std::io::{self, BufRead};
use vkmps_bus::ClientEntry;

/// Understands the commands of nvidia-cuda-mps-control, for scripts written for it.
#[derive(Debug, Parser)]
#[command(
    name = "vkmps-control",
    version,
    after_help = "vkmps-control(1) documents the commands."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    bus: Bus,
    /// Start the service, as a command start_server does
    #[arg(short = 'd', conflicts_with = "command")]
    daemon: bool,
    /// A command; without one, commands are read from standard input, one per line
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// The engine and who uses it.
#[derive(Debug)]
struct Server {
    status: Status,
    clients: Vec<ClientEntry>,
}

impl Server {
    fn pid(&self) -> u32 {
        self.status.engine_pid
    }

    fn device(&self) -> Option<&Device> {
        self.status.device.as_ref()
    }
}

/// What follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    End,
}

/// Does what was asked; the first command that fails decides the exit status.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut shell = Shell {
        bus: &arguments.bus,
        service: None,
        exit: Exit::Success,
    };
    if arguments.daemon {
        shell.line("start_server -uid 0").await?;
    } else if !arguments.command.is_empty() {
        shell.line(&arguments.command.join(" ")).await?;
    } else {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map_err(|error| Error::System("commands cannot be read", error))?;
            if shell.line(&String::from_utf8_lossy(&line)).await? == Flow::End {
                break;
            }
        }
    }
    match shell.exit {
        Exit::Success => Ok(()),
        exit => Err(Error::Reported(exit)),
    }
}

/// Takes commands.
struct Shell<'a> {
    bus: &'a Bus,
    /// Connected to when it is first needed.
    service: Option<Service>,
    exit: Exit,
}

impl Shell<'_> {
    /// Obeys a command and prints the answer; fails only if there is nowhere to print to.
    async fn line(&mut self, line: &str) -> Result<Flow, Error> {
        let Some(command) = Command::parse(line) else {
            return Ok(Flow::Next);
        };
        let exit = match self.obey(&command).await {
            Ok(answer) => {
                write(&answer.text)?;
                answer.exit
            }
            Err(error) => {
                match error.exit() {
                    // Scripts look for these words.
                    Exit::Unreachable => {
                        complain("Cannot find MPS control daemon process", &error);
                    }
                    _ => complain("vkmps-control", &error),
                }
                error.exit()
            }
        };
        if self.exit == Exit::Success {
            self.exit = exit;
        }
        match command {
            Command::Quit { .. } => Ok(Flow::End),
            _ => Ok(Flow::Next),
        }
    }

    async fn obey(&mut self, command: &Command) -> Result<Answer, Error> {
        let service = match &mut self.service {
            Some(service) => service,
            empty => empty.insert(Service::connect(self.bus).await?),
        };
        obey(service, command).await
    }
}

async fn obey(service: &Service, command: &Command) -> Result<Answer, Error> {
    match command {
        Command::Unknown(word) => {
            let word = text::escape(word);
            return Ok(Answer::failure(format!("Unknown command \"{word}\"\n")));
        }
        Command::Later(word) => {
            return Ok(Answer::failure(format!(
                "{word} is not in this version of vkmpsd\n"
            )));
        }
        Command::StartServer { uid } => {
            return match uid {
                Some(_) => service.start().await.map(|()| Answer::default()),
                None => Ok(Answer::failure(
                    "A user id (UID) is required to start a new server\n".to_owned(),
                )),
            };
        }
        Command::Quit { timeout } => {
            return quit::run(service, *timeout)
                .await
                .map(|()| Answer::default());
        }
        _ => {}
    }
    let server = match command {
        // Of a service that does not run it can be asked, and said, as well.
        Command::Limit { server: None, .. } => None,
        _ => find(service).await?,
    };
    let server = server.as_ref();
    if let Command::Limit {
        server: pid,
        limit,
        value,
    } = command
    {
        return match (pid, value) {
            (Some(pid), _) if server.is_none_or(|server| server.pid() != *pid) => {
                Ok(Answer::no_server(*pid))
            }
            (_, Some(value)) => limit::set(service, *limit, value).await,
            (_, None) => limit::show(service, *limit).await,
        };
    }
    Ok(match command {
        Command::GetServerList => answer::server_list(server),
        Command::GetServerStatus { server: pid } => answer::server_status(server, *pid),
        Command::GetClientList { server: pid } => answer::client_list(server, *pid),
        Command::GetDeviceClientList { server: pid } => answer::device_client_list(server, *pid),
        Command::Ps { server: pid } => answer::ps(server, *pid, process::look),
        Command::DeviceQuery { server: pid, csv } => answer::device_query(server, *pid, *csv),
        Command::TerminateClient {
            server: pid,
            client,
        } => terminate(service, server, *pid, *client).await?,
        Command::Unknown(_)
        | Command::Later(_)
        | Command::Limit { .. }
        | Command::StartServer { .. }
        | Command::Quit { .. } => Answer::default(),
    })
}

/// The engine, if there is one. Looking starts none, as with NVIDIA's.
async fn find(service: &Service) -> Result<Option<Server>, Error> {
    match service.presence().await? {
        Presence::Running => {}
        Presence::Startable => return Ok(None),
        Presence::Absent => return Err(Error::Absent),
    }
    let status = Status::of(service).await?;
    if status.engine_pid == 0 {
        return Ok(None);
    }
    let clients = service.manager().list_clients().await?;
    Ok(Some(Server { status, clients }))
}

/// Ends all sessions of a process.
async fn terminate(
    service: &Service,
    server: Option<&Server>,
    pid: u32,
    client: u32,
) -> Result<Answer, Error> {
    let Some(server) = server.filter(|server| server.pid() == pid) else {
        return Ok(answer::terminate_unknown_server(pid));
    };
    let sessions = server.clients.iter().filter(|entry| entry.pid == client);
    let mut ended = 0;
    for session in sessions {
        match service.guarded("TerminateClient", &session.id).await {
            Ok(()) => ended += 1,
            // It has just left by itself.
            Err(Error::UnknownClient(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer::terminated(ended))
}
