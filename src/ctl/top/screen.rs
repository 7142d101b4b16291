//! A terminal that is filled with views, and given back as it was.

use crate::error::Error;
use crate::output::write;
use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};
use std::fmt::Write;
use std::future::pending;
use std::io::{self, IsTerminal, Read};
use std::thread;
use tokio::sync::oneshot;

/// The terminal's other screen, without cursor and wrapping; keys are read as they are pressed.
pub(super) struct Screen {
    keys: Option<Keys>,
}

/// A terminal that does not echo.
struct Keys {
    quit: oneshot::Receiver<()>,
    before: Termios,
}

impl Screen {
    pub(super) fn open() -> Result<Self, Error> {
        let keys = match io::stdin().is_terminal() {
            true => Some(Keys::open()?),
            false => None,
        };
        let screen = Self { keys };
        write("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")?;
        Ok(screen)
    }

    /// Draws from the bottom up, because a line below the last one lands on the last one: what does not fit is lost
    /// under what does, whatever the size, and nothing scrolls.
    pub(super) fn draw(&self, lines: &[String]) -> Result<(), Error> {
        let mut text = format!("\x1b[{};1H\x1b[J", lines.len() + 1);
        for (index, line) in lines.iter().enumerate().rev() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\x1b[{};1H{line}\x1b[K", index + 1);
        }
        write(&text)
    }

    /// Until q is pressed.
    pub(super) async fn quit(screen: Option<&mut Self>) {
        match screen.and_then(|screen| screen.keys.as_mut()) {
            // Also when the reader has ended: nobody is there any more.
            Some(keys) => drop((&mut keys.quit).await),
            None => pending().await,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Without an output there is nothing to restore.
        let _ = write("\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

impl Keys {
    fn open() -> Result<Self, Error> {
        let failed =
            |error: nix::Error| Error::System("the terminal cannot be set up", error.into());
        let before = termios::tcgetattr(io::stdin()).map_err(failed)?;
        let mut now = before.clone();
        now.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // Stopped, we would leave the other screen behind. 0 is _POSIX_VDISABLE on Linux.
        now.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &now).map_err(failed)?;
        // A thread, because a terminal may be shared with programs that do not expect it not to block. It ends with us.
        let (pressed, quit) = oneshot::channel();
        thread::spawn(move || {
            let keys = io::stdin().lock().bytes();
            let _last = keys.map_while(Result::ok).find(|key| b"qQ".contains(key));
            drop(pressed);
        });
        Ok(Self { quit, before })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
