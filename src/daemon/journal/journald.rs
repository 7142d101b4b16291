//! Lines for journald, in its native protocol.
//!
//! Every value is sent with its length, so that no text of a client can end it and begin a field of its own. journald is
//! not waited for long: a daemon that serves must not hang with it.

use super::losses::{Losses, PATIENCE};
use super::message_id::Kind;
use super::text::Text;
use nix::sys::socket::{MsgFlags, UnixAddr, sendto};
use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A socket to journald.
#[derive(Debug)]
pub(super) struct Journald {
    socket: UnixDatagram,
    journald: UnixAddr,
    losses: Losses,
}

impl Journald {
    /// Opens it.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let journald = Self {
            socket,
            journald: UnixAddr::new(path)?,
            losses: Losses::default(),
        };
        // journald takes no notice of this; that there is one is seen.
        journald.send(&[])?;
        Ok(journald)
    }

    fn write(&self, record: &Record) {
        if self.send(&record.0).is_err() {
            return self.losses.lost();
        }
        match self.losses.over() {
            0 => {}
            lost => {
                let text = format!("{lost} lines before the last were lost");
                let mut record = Record::new(Level::WARN);
                record.put("MESSAGE_ID", Kind::LinesLost.id().as_bytes());
                record.put("MESSAGE", text.as_bytes());
                self.write(&record);
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> nix::Result<usize> {
        let flags = match self.losses.patience().is_zero() {
            true => MsgFlags::MSG_DONTWAIT,
            false => MsgFlags::empty(),
        };
        // By name each time: a journald that was started anew is found.
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        sendto(self.socket.as_raw_fd(), bytes, &self.journald, flags)
    }
}

impl<S: Subscriber> Layer<S> for Journald {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = Record::new(*event.metadata().level());
        record.put("MESSAGE", Text::of(event).as_bytes());
        event.record(&mut record);
        if let (Some(file), Some(line)) = (event.metadata().file(), event.metadata().line()) {
            record.put("CODE_FILE", file.as_bytes());
            record.put("CODE_LINE", line.to_string().as_bytes());
        }
        self.write(&record);
    }
}

/// Whether systemd connected our standard error to journald, so that it is where our lines belong.
pub(super) fn reads_stderr() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let Ok(metadata) = stderr.and_then(|stderr| std::fs::File::from(stderr).metadata()) else {
        return false;
    };
    stream.to_str() == Some(&format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// The bytes of one line.
struct Record(Vec<u8>);

impl Record {
    fn new(level: Level) -> Self {
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut record = Self(Vec::with_capacity(512));
        record.put("PRIORITY", priority.as_bytes());
        record.put("SYSLOG_IDENTIFIER", b"vkmpsd");
        record
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        let value = &value[..value.len().min(MAX_VALUE_BYTES)];
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0
            .extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

/// Only fields that are named for the journal; the others are in the message.
impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name().starts_with(|c: char| c.is_ascii_uppercase()) {
            self.put(field.name(), value.as_bytes());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name().starts_with(|c: char| c.is_ascii_uppercase()) {
            self.put(field.name(), format!("{value:?}").as_bytes());
        }
    }
}

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// More than any text of ours has; a whole line fits in a datagram.
const MAX_VALUE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use tracing_subscriber::layer::SubscriberExt;

    /// Somebody who listens as journald does.
    struct Listener {
        socket: UnixDatagram,
        path: PathBuf,
    }

    impl Listener {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("vkmpsd-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, path }
        }

        fn lines(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
            let mut buffer = vec![0; 1 << 18];
            let mut lines = Vec::new();
            while let Ok(bytes) = self.socket.recv(&mut buffer) {
                lines.push(parse(&buffer[..bytes]));
            }
            lines.retain(|line| !line.is_empty());
            lines
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// As journald does it.
    fn parse(mut bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut fields = BTreeMap::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let name = std::str::from_utf8(&bytes[..end]).unwrap();
            assert!(!name.contains('='));
            let length = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap());
            let value = &bytes[end + 9..][..usize::try_from(length).unwrap()];
            assert!(fields.insert(name.to_owned(), value.to_vec()).is_none());
            bytes = &bytes[end + 9 + value.len() + 1..];
        }
        assert!(bytes.is_empty());
        fields
    }

    fn with(listener: &Listener, write: impl FnOnce()) {
        let layer = Journald::new(&listener.path).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, write);
    }

    #[test]
    fn a_line_has_its_fields_and_a_text_that_reads_alone() {
        let listener = Listener::new("fields");
        with(&listener, || {
            tracing::warn!(
                MESSAGE_ID = Kind::AllocationRefused.id(),
                VKMPS_UID = 1000_u32,
                VKMPS_NAME = "a job",
                class = ?Some(1),
                "allocation refused"
            );
        });
        let lines = listener.lines();
        let text = |name: &str| String::from_utf8(lines[0][name].clone()).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(text("MESSAGE_ID"), Kind::AllocationRefused.id());
        assert_eq!(text("VKMPS_UID"), "1000");
        assert_eq!(text("VKMPS_NAME"), "a job");
        assert_eq!(text("PRIORITY"), "4");
        assert_eq!(text("SYSLOG_IDENTIFIER"), "vkmpsd");
        assert_eq!(
            text("MESSAGE"),
            "allocation refused uid=1000 name=\"a job\" class=Some(1)"
        );
        assert!(!lines[0].contains_key("class") && !lines[0].contains_key("CLASS"));
    }

    #[test]
    fn no_client_can_forge_a_field_by_its_name() {
        let listener = Listener::new("forged");
        let hostile = "x\nVKMPS_UID=0\nPRIORITY\n\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}0\n";
        with(&listener, || {
            tracing::info!(VKMPS_UID = 1000, VKMPS_NAME = hostile, "client connected");
        });
        let lines = listener.lines();
        assert_eq!(lines[0]["VKMPS_UID"], b"1000");
        assert_eq!(lines[0]["PRIORITY"], b"6");
        assert_eq!(lines[0]["VKMPS_NAME"], hostile.as_bytes());
        assert!(!lines[0]["MESSAGE"].contains(&b'\n'));
    }

    #[test]
    fn a_journald_that_hangs_costs_lines_and_not_the_daemon() {
        let listener = Listener::new("hangs");
        with(&listener, || {
            for number in 0..5000 {
                tracing::info!(number, "line");
            }
            let fitted = listener.lines().len();
            assert!(fitted < 5000);
            tracing::info!("after");
        });
        let lines = listener.lines();
        assert_eq!(lines[0]["MESSAGE"], b"after");
        assert_eq!(lines[1]["MESSAGE_ID"], Kind::LinesLost.id().as_bytes());
    }

    #[test]
    fn a_journald_that_is_started_anew_is_found() {
        let first = Listener::new("anew");
        let path = first.path.clone();
        let layer = Journald::new(&path).unwrap();
        drop(first);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("while there is none");
            let second = Listener::new("anew");
            tracing::info!("again");
            assert_eq!(second.lines()[0]["MESSAGE"], b"again");
        });
        assert!(Journald::new(&path).is_err());
    }
}
