//! `vkmpsctl top`: who uses the device now.

mod frame;
mod screen;

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::{Format, write};
use crate::paint::Paint;
use crate::service::Service;
use crate::users::Users;
use frame::{Frame, Order, Sample};
use screen::Screen;
use std::io::{self, IsTerminal};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How often, and how many times.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Seconds between two views
    #[arg(long, short, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    interval: Duration,
    /// Show that many views, then end
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// What is on top
    #[arg(long, short, value_enum, value_name = "COLUMN", default_value_t = Order::Share)]
    sort: Order,
    /// The same as --count 1
    #[arg(long, conflicts_with = "count")]
    once: bool,
}

/// Shows views until there were enough, or somebody interrupts or presses q.
pub(crate) async fn run(service: &Service, options: &Options, format: Format) -> Result<(), Error> {
    let interrupt = Interrupt::new()?;
    let count = options.count.or(options.once.then_some(1));
    let mut earlier = Sample::take(service).await?;
    let mut screen = match (format, count) {
        (Format::Text(_), None) if is_terminal() => Some(Screen::open()?),
        _ => None,
    };
    let mut interrupted = std::pin::pin!(interrupt.wait());
    let mut users = Users::default();
    let mut shown = 0;
    let mut next = Instant::now();
    if let Some(screen) = &screen {
        // Rates follow; who is there can be seen at once.
        let first = Frame::between(&earlier, &earlier, options.sort);
        screen.draw(&first.lines(&mut users, Paint::of_output()))?;
    }
    while count.is_none_or(|count| shown < count) {
        next = (next + options.interval).max(Instant::now());
        tokio::select! {
            () = &mut interrupted => break,
            () = Screen::quit(screen.as_mut()) => break,
            () = sleep_until(next) => {}
        }
        let later = Sample::take(service).await?;
        let frame = Frame::between(&earlier, &later, options.sort);
        match &screen {
            Some(screen) => screen.draw(&frame.lines(&mut users, Paint::of_output()))?,
            None => {
                if shown > 0 && format != Format::Json {
                    write("\n")?;
                }
                format.show(&frame, |paint| {
                    frame.lines(&mut users, paint).join("\n") + "\n"
                })?;
            }
        }
        shown += 1;
        earlier = later;
    }
    Ok(())
}

/// Whether there is a screen to fill.
fn is_terminal() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !dumb
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "not a number")?;
    match (0.05..=86_400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("from 0.05 to 86400 seconds"),
    }
}
