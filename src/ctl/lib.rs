//! The administrator's tools of vkmps: `vkmpsctl`, and `vkmps-control`, which speaks the language of NVIDIA's MPS.
//!
//! Both only ask vkmpsd over D-Bus; what they may is decided there. Names of clients are text of strangers and are
//! escaped wherever people read them.
#![forbid(unsafe_code)]

mod agent;
mod arguments;
mod change;
mod check_config;
mod clients;
mod error;
mod exit;
mod interrupt;
mod limits;
mod monitor;
mod mps;
mod output;
mod paint;
mod run;
mod service;
mod sessions;
mod statistics;
mod status;
mod table;
mod text;
mod top;
mod trace;
mod units;
mod users;
mod watch;

use arguments::{Arguments, Verb};
use clap::{CommandFactory, Parser};
use error::Error;
use exit::Exit;
use output::Format;
use paint::Paint;
use service::Service;
use std::process::ExitCode;

/// The program `vkmpsctl`.
pub fn vkmpsctl() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    // Its exit status is the command's.
    if let Verb::Run(options) = &arguments.verb {
        return match runtime() {
            Ok(runtime) => runtime.block_on(run::run(options)),
            Err(error) => finish("vkmpsctl", Err(error)),
        };
    }
    finish(
        "vkmpsctl",
        runtime().and_then(|runtime| runtime.block_on(administer(&arguments))),
    )
}

/// The program `vkmps-control`.
pub fn vkmps_control() -> ExitCode {
    let arguments = match mps::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let outcome = runtime().and_then(|runtime| runtime.block_on(mps::run(&arguments)));
    finish("vkmps-control", outcome)
}

async fn administer(arguments: &Arguments) -> Result<(), Error> {
    let format = match arguments.json {
        true => Format::Json,
        false => Format::Text(Paint::of_output()),
    };
    // What needs no service.
    match &arguments.verb {
        Verb::CheckConfig { config } => return check_config::run(config.as_deref(), format),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "vkmpsctl", &mut script);
            return output::write(&String::from_utf8_lossy(&script));
        }
        _ => {}
    }
    let service = Service::connect(&arguments.bus).await?;
    match &arguments.verb {
        Verb::Status => status::run(&service, format).await,
        Verb::List { all } => clients::list(&service, *all, format).await,
        Verb::Sessions => sessions::list(&service, format).await,
        Verb::Release { sessions } => sessions::release(&service, sessions, format).await,
        Verb::Show { client } => clients::show(&service, *client, format).await,
        Verb::SetPriority { client, priority } => {
            change::set_priority(&service, *client, *priority, format).await
        }
        Verb::Terminate { clients } => change::terminate(&service, clients, format).await,
        Verb::Drain { wait } => change::drain(&service, *wait, format).await,
        Verb::Resume => change::resume(&service, format).await,
        Verb::Reload => change::reload(&service, format).await,
        Verb::Statistics => statistics::run(&service, format).await,
        Verb::SetLimits(options) => limits::set(&service, options, format).await,
        Verb::Mode {
            mode,
            loop_slice_quota,
        } => limits::mode(&service, mode.as_deref(), *loop_slice_quota, format).await,
        Verb::LogLevel { level } => change::log_level(&service, *level, format).await,
        Verb::Monitor => monitor::run(&service, format).await,
        Verb::Trace(options) => trace::run(&service, options, format).await,
        Verb::Top(options) => top::run(&service, options, format).await,
        Verb::CheckConfig { .. } | Verb::Completions { .. } | Verb::Run(_) => Ok(()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    runtime.map_err(|error| Error::System("the event loop cannot be made", error))
}

/// What clap says of a wrong command line, or of `--help`.
fn explain(error: &clap::Error) -> ExitCode {
    // To a closed output there is nothing more to say.
    let _ = error.print();
    match error.use_stderr() {
        true => Exit::Usage.into(),
        false => Exit::Success.into(),
    }
}

/// Says what failed and chooses the exit status.
fn finish(program: &str, outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            if !error.is_silent() {
                complain(program, &error);
            }
            error.exit().into()
        }
    }
}

/// One line on standard error.
fn complain(program: &str, error: &dyn std::error::Error) {
    eprintln!("{program}: {}", text::escape(&error::chain(error)));
}
