//! A trace as ui.perfetto.dev and chrome://tracing read it: the JSON of Chrome's trace events.
//!
//! The device is a process with a track per hardware queue, on which batches are slices. Each client is a process with a
//! track per stream: there a slice is a batch that has work of the stream, and the pieces of its jobs are slices inside.

use super::timeline::{Batch, Piece, State, Timeline};
use super::{Client, Clients};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use vkmps_protocol::recorder::Event;

/// One of `traceEvents`.
#[derive(Debug, Serialize)]
struct Slice<'a> {
    name: String,
    cat: &'a str,
    ph: &'a str,
    /// Microseconds since the trace began.
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    /// Of an instant: how far its line reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'a str>,
    pid: u64,
    tid: u64,
    args: Value,
}

/// Writes everything; what was lost stands in `otherData`.
pub(super) fn write(
    output: &mut impl Write,
    timeline: &Timeline,
    clients: &Clients,
    other: &Value,
) -> std::io::Result<()> {
    let mut writer = Writer {
        output,
        timeline,
        clients,
        first: true,
        begin_ns: timeline.begin_ns,
    };
    write!(
        writer.output,
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{other},\"traceEvents\":["
    )?;
    writer.tracks()?;
    for batch in &timeline.batches {
        writer.batch(batch)?;
    }
    writer.instants()?;
    writeln!(writer.output, "\n]}}")
}

struct Writer<'a, W> {
    output: &'a mut W,
    timeline: &'a Timeline,
    clients: &'a Clients,
    first: bool,
    begin_ns: u64,
}

impl<W: Write> Writer<'_, W> {
    /// Names of all processes and threads.
    fn tracks(&mut self) -> std::io::Result<()> {
        self.name("process_name", DEVICE, 0, &json!({"name": "device"}))?;
        self.name("process_sort_index", DEVICE, 0, &json!({"sort_index": 0}))?;
        for queue in self.timeline.queues() {
            let name = json!({"name": format!("queue {queue}")});
            self.name("thread_name", DEVICE, u64::from(queue) + 1, &name)?;
        }
        let mut streams: BTreeMap<u64, BTreeMap<u16, ()>> = BTreeMap::new();
        for piece in &self.timeline.pieces {
            let session = streams.entry(piece.session.0).or_default();
            session.insert(piece.stream, ());
        }
        for mark in &self.timeline.marks {
            streams.entry(mark.session.0).or_default();
        }
        for (order, (session, streams)) in streams.iter().enumerate() {
            let pid = client_pid(*session);
            let name = json!({"name": self.clients.label(*session)});
            self.name("process_name", pid, 0, &name)?;
            self.name(
                "process_sort_index",
                pid,
                0,
                &json!({"sort_index": order + 1}),
            )?;
            if let Some(Client {
                uid, pid: process, ..
            }) = self.clients.known(*session)
            {
                let labels = json!({"labels": format!("pid {process}, uid {uid}")});
                self.name("process_labels", pid, 0, &labels)?;
            }
            for stream in streams.keys() {
                let name = json!({"name": format!("stream {stream}")});
                self.name("thread_name", pid, u64::from(*stream) + 1, &name)?;
            }
        }
        Ok(())
    }

    /// A batch on its queue, then the same on the streams that have work in it, each with this work inside.
    fn batch(&mut self, batch: &Batch) -> std::io::Result<()> {
        let pieces = &self.timeline.pieces[batch.pieces.clone()];
        let mut streams: BTreeMap<(u64, u16), Vec<&Piece>> = BTreeMap::new();
        for piece in pieces {
            let key = (piece.session.0, piece.stream);
            streams.entry(key).or_default().push(piece);
        }
        let mut sessions: Vec<u64> = streams.keys().map(|(session, _)| *session).collect();
        sessions.dedup();
        let name = match (sessions.as_slice(), batch.state) {
            ([], State::Whole) => "clearing memory".to_owned(),
            ([], _) => "unknown".to_owned(),
            ([one], _) => self.clients.label(*one),
            (more, _) => format!("{} clients", more.len()),
        };
        let mut args = json!({
            "batch": batch.level.number, "pieces": pieces.len(), "clients": sessions,
        });
        match batch.state {
            State::Whole => {}
            State::Unknown => args["incomplete"] = true.into(),
            State::Unfinished => args["unfinished"] = true.into(),
        }
        self.slice(
            batch,
            name,
            "batch",
            (DEVICE, u64::from(batch.level.queue) + 1),
            args,
        )?;
        for ((session, stream), pieces) in streams {
            let track = (client_pid(session), u64::from(stream) + 1);
            let args = json!({
                "queue": batch.level.queue, "batch": batch.level.number, "clients": sessions.len(),
            });
            let name = format!("queue {}", batch.level.queue);
            self.slice(batch, name, "batch", track, args)?;
            for piece in pieces {
                let (units, total) = (&piece.units, piece.total);
                let name = match units.end - units.start.min(units.end) == total {
                    true => format!("job {}", piece.job),
                    false => format!("job {} part", piece.job),
                };
                let args = json!({
                    "job": piece.job, "program": format!("{:016x}", piece.program),
                    "from": units.start, "to": units.end, "total": total,
                });
                self.slice(batch, name, "piece", track, args)?;
            }
        }
        Ok(())
    }

    fn instants(&mut self) -> std::io::Result<()> {
        for mark in &self.timeline.marks {
            let name = match mark.event {
                Event::Demoted => "demoted",
                Event::Restored => "restored",
                Event::Ended => "ended",
            };
            self.instant(name, mark.at_ns, client_pid(mark.session.0), "p")?;
        }
        for at_ns in &self.timeline.starts_ns {
            self.instant("engine started", *at_ns, DEVICE, "g")?;
        }
        Ok(())
    }

    fn slice(
        &mut self,
        batch: &Batch,
        name: String,
        cat: &str,
        (pid, tid): (u64, u64),
        args: Value,
    ) -> std::io::Result<()> {
        self.event(&Slice {
            name,
            cat,
            ph: "X",
            ts: self.us(batch.begin_ns),
            dur: Some(us(batch.end_ns - batch.begin_ns)),
            s: None,
            pid,
            tid,
            args,
        })
    }

    fn instant(&mut self, name: &str, at_ns: u64, pid: u64, scope: &str) -> std::io::Result<()> {
        self.event(&Slice {
            name: name.to_owned(),
            cat: "mark",
            ph: "i",
            ts: self.us(at_ns),
            dur: None,
            s: Some(scope),
            pid,
            tid: 0,
            args: json!({}),
        })
    }

    fn name(&mut self, what: &str, pid: u64, tid: u64, args: &Value) -> std::io::Result<()> {
        self.event(&json!({"name": what, "ph": "M", "pid": pid, "tid": tid, "args": args}))
    }

    fn event(&mut self, event: &impl Serialize) -> std::io::Result<()> {
        let separator = match std::mem::take(&mut self.first) {
            true => "\n",
            false => ",\n",
        };
        self.output.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut *self.output, event).map_err(Into::into)
    }

    /// Since the beginning of the trace.
    fn us(&self, at_ns: u64) -> f64 {
        us(at_ns.saturating_sub(self.begin_ns))
    }
}

/// Microseconds, with three decimals.
#[expect(clippy::cast_precision_loss, reason = "exact for 104 days")]
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Sessions are numbered from 1.
fn client_pid(session: u64) -> u64 {
    session.saturating_add(DEVICE)
}

/// 0 is the idle process in some viewers.
const DEVICE: u64 = 1;
