//! One process of the demo: computes its tiles of each stage and writes them into the common files.

use super::plan::{Plan, Stage, Tile};
use crate::backend::{self, Backend, BufferId, Lane, Place, ProgramId, Residence, Work};
use crate::clock;
use crate::crew::inside;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) place: Place,
    pub(crate) plan: Plan,
    /// Its number among all.
    pub(crate) number: usize,
    pub(crate) workers: usize,
}

/// What a worker tells while it computes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// A tile is in the file.
    Tile { submit_ns: u64, complete_ns: u64 },
    /// All its tiles of the stage are.
    StageDone,
}

impl Worker {
    /// Serves the parent's orders, a stage each, until it wants no more.
    pub(crate) fn run(self) -> Result<(), Error> {
        let mut desk = Desk::new(&self)?;
        while let Some(stage) = inside::hear::<Stage>()? {
            desk.stage(&self, stage)?;
            inside::say(&Event::StageDone)?;
        }
        Ok(())
    }
}

/// What it computes with.
struct Desk {
    backend: Box<dyn Backend>,
    /// The tile that each lane computes, once it has one, goes here.
    results: Vec<BufferId>,
    source: Option<BufferId>,
}

/// A tile on its way.
struct Flight {
    tile: Tile,
    submit_ns: u64,
}

impl Desk {
    fn new(worker: &Worker) -> Result<Self, Error> {
        let mut backend = backend::open(&worker.place)?;
        let bytes = worker.plan.tile_bytes();
        let results = (0..LANES).map(|_| backend.buffer(bytes, Residence::Shared));
        let results = results.collect::<Result<_, _>>()?;
        Ok(Self {
            backend,
            results,
            source: None,
        })
    }

    fn stage(&mut self, worker: &Worker, stage: Stage) -> Result<(), Error> {
        let plan = &worker.plan;
        let program = self.backend.program(stage.shader())?;
        let input = plan.input(stage)?;
        if !input.is_empty() {
            let source = self.source(plan.picture_bytes())?;
            self.backend.write(source, &input)?;
        }
        let file = plan.output(stage)?;
        // Every worker takes each n-th tile, so that hard and easy parts of the picture spread.
        let mut tiles = plan
            .tiles(stage)
            .into_iter()
            .skip(worker.number)
            .step_by(worker.workers);
        let mut flights: [Option<Flight>; LANES] = [const { None }; LANES];
        loop {
            for (lane, flight) in flights.iter_mut().enumerate() {
                if let Some(flight) = flight.take() {
                    self.land(lane, &flight, plan, &file)?;
                }
                if let Some(tile) = tiles.next() {
                    *flight = Some(self.take_off(lane, program, plan, stage, tile)?);
                }
            }
            if flights.iter().all(Option::is_none) {
                return Ok(());
            }
        }
    }

    fn source(&mut self, bytes: u64) -> Result<BufferId, Error> {
        match self.source {
            Some(source) => Ok(source),
            None => Ok(*self
                .source
                .insert(self.backend.buffer(bytes, Residence::Device)?)),
        }
    }

    fn take_off(
        &mut self,
        lane: usize,
        program: ProgramId,
        plan: &Plan,
        stage: Stage,
        tile: Tile,
    ) -> Result<Flight, Error> {
        let push = plan.push(stage, tile);
        let source = self.source.filter(|_| stage != Stage::Mandelbrot);
        let buffers: Vec<_> = source.into_iter().chain([self.results[lane]]).collect();
        let submit_ns = clock::now_ns();
        let work = Work {
            program,
            groups: tile.groups(),
            push: &push,
            buffers: &buffers,
        };
        self.backend.submit(Lane(lane), &work)?;
        Ok(Flight { tile, submit_ns })
    }

    fn land(
        &mut self,
        lane: usize,
        flight: &Flight,
        plan: &Plan,
        file: &File,
    ) -> Result<(), Error> {
        self.backend.wait(Lane(lane))?;
        let complete_ns = clock::now_ns();
        let tile = flight.tile;
        let mut bytes = vec![0; tile.bytes()];
        self.backend.read(self.results[lane], &mut bytes)?;
        for (row, line) in (tile.y..).zip(bytes.chunks(tile.width as usize * 4)) {
            let pixel = u64::from(row) * u64::from(plan.width) + u64::from(tile.x);
            file.write_all_at(line, pixel * 4)
                .map_err(|source| Error::Io("writing pixels", source))?;
        }
        inside::say(&Event::Tile {
            submit_ns: flight.submit_ns,
            complete_ns,
        })
    }
}

/// Tiles in flight per worker.
pub(crate) const LANES: usize = 2;
