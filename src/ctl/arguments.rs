//! The command line of `vkmpsctl`.

use crate::limits;
use crate::run;
use crate::service::Bus;
use crate::top;
use crate::trace;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;
use vkmps_bus::{LogLevel, Priority};

/// Looks at vkmpsd, the multi-process service for Vulkan compute, and tells it what to do.
#[derive(Debug, Parser)]
#[command(
    name = "vkmpsctl",
    version,
    after_help = "vkmpsctl(1) documents JSON keys and exit statuses."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) bus: Bus,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show how the service and its device are
    Status,
    /// List the clients; those of a session in one line
    List {
        /// One line for each client
        #[arg(long)]
        all: bool,
    },
    /// List the sessions: clients that have limits together
    Sessions,
    /// End sessions, and their clients with them
    Release {
        /// Their ids, as sessions shows them
        #[arg(required = true, value_name = "SESSION")]
        sessions: Vec<u64>,
    },
    /// Show one client
    Show {
        /// Its id, as list shows it
        client: u64,
    },
    /// Change the priority of a client's work
    SetPriority {
        /// Its id, as list shows it
        client: u64,
        /// low, medium, high or realtime
        priority: Priority,
    },
    /// End clients' sessions
    Terminate {
        /// Their ids, as list shows them
        #[arg(required = true, value_name = "CLIENT")]
        clients: Vec<u64>,
    },
    /// Refuse new clients; those that are connected go on
    Drain {
        /// Return when the last client has left
        #[arg(long)]
        wait: bool,
    },
    /// Accept clients again
    Resume,
    /// Make the service read its configuration again
    Reload,
    /// Print all counters
    Statistics,
    /// Change limits of a client, of a user's clients together, or of every client
    SetLimits(limits::Options),
    /// Print or set how clients share the device's time
    #[command(visible_alias = "set-mode")]
    Mode {
        /// exclusive-throughput or cooperative-fairshare
        #[arg(value_parser = ["exclusive-throughput", "cooperative-fairshare"])]
        mode: Option<String>,
        /// Loop iterations of a slice of a shader
        #[arg(long, value_name = "N")]
        loop_slice_quota: Option<u64>,
    },
    /// Print or set how much is logged
    LogLevel {
        /// error, warn, info, debug or trace
        level: Option<LogLevel>,
    },
    /// Run a command whose clients have limits together and end with it
    Run(run::Options),
    /// Print what happens, until interrupted
    Monitor,
    /// Show who uses the device, again and again; q ends it
    Top(top::Options),
    /// Write down what the device does for whom, and when
    Trace(trace::Options),
    /// Check configuration files as vkmpsd reads them
    CheckConfig {
        /// The main file [default: /etc/vkmps/vkmpsd.toml]
        #[arg(long, value_name = "PATH")]
        config: Option<PathBuf>,
    },
    /// Print a completion script
    #[command(hide = true)]
    Completions {
        /// For which shell
        shell: Shell,
    },
}
