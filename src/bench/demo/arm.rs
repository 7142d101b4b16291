//! The demo's work done once: worker processes started, driven through the stages, observed.

use super::picture::Picture;
use super::plan::{Plan, Stage};
use super::worker::{Event, Worker};
use crate::backend::Place;
use crate::bench::Bench;
use crate::clock;
use crate::crew::Member;
use crate::error::Error;
use crate::process;
use crate::progress;
use crate::worker::Task;
use std::sync::mpsc;
use std::thread;

/// What was seen.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    /// When each process was started, nanoseconds.
    starts_ns: Vec<u64>,
    end_ns: u64,
    pub(crate) spans: Vec<Span>,
    /// Memory of all worker processes.
    pub(crate) worker_bytes: u64,
    /// Memory of the daemon's processes.
    pub(crate) daemon_bytes: u64,
}

/// One dispatch, from submit to completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) worker: usize,
    pub(crate) stage: Stage,
    pub(crate) submit_ns: u64,
    pub(crate) complete_ns: u64,
}

pub(crate) fn run(
    bench: &Bench,
    name: &'static str,
    place: &Place,
    plan: &Plan,
    workers: usize,
    source: Option<&Picture>,
) -> Result<Run, Error> {
    plan.lay_out(source)?;
    let mut run = Run {
        name,
        starts_ns: Vec::new(),
        end_ns: 0,
        spans: Vec::new(),
        worker_bytes: 0,
        daemon_bytes: 0,
    };
    let mut members = Vec::new();
    for number in 0..workers {
        run.starts_ns.push(clock::now_ns());
        let worker = Worker {
            place: place.clone(),
            plan: plan.clone(),
            number,
            workers,
        };
        let mut member = Member::start(bench, &Task::Demo(worker))?;
        if let Some(first) = plan.stages().first() {
            member.order(first)?;
        }
        members.push(member);
    }
    for (place, stage) in plan.stages().iter().enumerate() {
        if place > 0 {
            members
                .iter_mut()
                .try_for_each(|member| member.order(stage))?;
        }
        run.follow(&mut members, *stage, plan)?;
    }
    run.end_ns = clock::now_ns();
    let pids: Vec<u32> = members.iter().map(Member::pid).collect();
    run.worker_bytes = process::footprint(&pids).pss_bytes;
    members.iter_mut().try_for_each(Member::finish)?;
    Ok(run)
}

impl Run {
    pub(crate) fn workers(&self) -> usize {
        self.starts_ns.len()
    }

    /// The start of the first process.
    pub(crate) fn start_ns(&self) -> u64 {
        self.starts_ns.first().copied().unwrap_or(0)
    }

    pub(crate) fn total_ms(&self) -> f64 {
        milliseconds(self.end_ns - self.start_ns())
    }

    /// Per process, from its start to its first finished tile; a process without a tile has none.
    pub(crate) fn first_results_ms(&self) -> Vec<f64> {
        let first = |(worker, start): (usize, &u64)| {
            let mine = self.spans.iter().filter(|span| span.worker == worker);
            mine.map(|span| span.complete_ns)
                .min()
                .map(|first| milliseconds(first - start))
        };
        self.starts_ns
            .iter()
            .enumerate()
            .filter_map(first)
            .collect()
    }

    /// Listens to all workers until each has done its share.
    fn follow(&mut self, members: &mut [Member], stage: Stage, plan: &Plan) -> Result<(), Error> {
        let total = plan.dispatches();
        thread::scope(|scope| {
            let (sender, events) = mpsc::channel();
            let listeners: Vec<_> = members
                .iter_mut()
                .enumerate()
                .map(|(worker, member)| {
                    let sender = sender.clone();
                    scope.spawn(move || listen(worker, member, stage, &sender))
                })
                .collect();
            drop(sender);
            for span in events {
                self.spans.push(span);
                let percent = self.spans.len() * 100 / total.max(1);
                progress::show(&format!("{}: {} {percent} %", self.name, stage.name()));
            }
            let mut ended = listeners.into_iter().map(|listener| listener.join());
            ended.try_for_each(|result| result.unwrap_or(Err(Error::WorkerDied)))
        })
    }
}

fn listen(
    worker: usize,
    member: &mut Member,
    stage: Stage,
    spans: &mpsc::Sender<Span>,
) -> Result<(), Error> {
    while let Event::Tile {
        submit_ns,
        complete_ns,
    } = member.answer()?
    {
        // It listens as long as any listener lives.
        let _received = spans.send(Span {
            worker,
            stage,
            submit_ns,
            complete_ns,
        });
    }
    Ok(())
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
