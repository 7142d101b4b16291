//! Standard error or a file, as a place that is never waited for long.

use super::losses::Losses;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;
use tracing_subscriber::fmt::MakeWriter;

/// Writes whole lines, or loses them: to a pipe that nobody reads, a full disk, a terminal that was stopped.
#[derive(Debug)]
pub(super) struct Output<F> {
    to: F,
    losses: Losses,
}

impl<F: AsFd> Output<F> {
    pub(super) fn new(to: F) -> Self {
        Self {
            to,
            losses: Losses::default(),
        }
    }

    fn write_line(&self, line: &[u8]) {
        for part in line.chunks(WRITABLE_BYTES) {
            if !self.is_writable() || self.write_part(part) != Ok(part.len()) {
                return self.losses.lost();
            }
        }
        match self.losses.over() {
            0 => {}
            lost => self.write_line(format!("{lost} lines before the last were lost\n").as_bytes()),
        }
    }

    fn is_writable(&self) -> bool {
        let patience = self.losses.patience();
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        let mut polled = [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)];
        loop {
            match poll(&mut polled, timeout) {
                Err(Errno::EINTR) => {}
                ready => return ready == Ok(1),
            }
        }
    }

    fn write_part(&self, part: &[u8]) -> nix::Result<usize> {
        loop {
            match nix::unistd::write(&self.to, part) {
                Err(Errno::EINTR) => {}
                written => return written,
            }
        }
    }
}

impl<'a, F: AsFd + 'a> MakeWriter<'a> for Output<F> {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl<F: AsFd> Write for &Output<F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that poll(2) calls writable takes so many bytes without a wait.
const WRITABLE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn write(output: &Output<impl AsFd>, line: &str) {
        output.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn a_reader_that_hangs_costs_lines_and_not_the_daemon() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::new(writer);
        let line = format!("{}\n", "x".repeat(5000));
        for _ in 0..1000 {
            write(&output, &line);
        }
        // It reads again: what fitted is there, and how much did not.
        let mut read = vec![0; 1 << 20];
        let fitted = reader.read(&mut read).unwrap();
        assert!(fitted < 1 << 20);
        write(&output, "after\n");
        drop(output);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("after\n"), "{rest}");
        assert!(
            rest.ends_with(" lines before the last were lost\n"),
            "{rest}"
        );
    }

    #[test]
    fn a_reader_that_is_gone_or_a_full_disk_is_survived() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = Output::new(writer);
        write(&output, "nobody reads this\n");
        let full = std::fs::File::options()
            .append(true)
            .open("/dev/full")
            .unwrap();
        let output = Output::new(full);
        write(&output, "there is no room for this\n");
    }
}
