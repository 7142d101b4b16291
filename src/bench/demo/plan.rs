//! What is computed, cut into dispatches, and where the results meet.

use super::picture::Picture;
use crate::arguments::DemoOptions;
use crate::error::Error;
use crate::shader::{self, Shader};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

/// Shared by all processes of the demo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) iterations: u32,
    stages: Vec<Stage>,
    /// Holds one file of raw pixels per stage, and `source`.
    folder: PathBuf,
}

/// One picture; each is made of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Mandelbrot,
    Blur,
    Edges,
}

/// A rectangle of the picture: one dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Plan {
    pub(crate) fn new(options: &DemoOptions, source: Option<&Picture>, folder: PathBuf) -> Self {
        let all = vec![Stage::Mandelbrot, Stage::Blur, Stage::Edges];
        let stages = if source.is_some() {
            all[1..].to_vec()
        } else {
            all
        };
        let (width, height) =
            source.map_or((options.size, options.size), |it| (it.width, it.height));
        Self {
            width,
            height,
            iterations: options.iterations,
            stages,
            folder,
        }
    }

    pub(crate) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    pub(crate) fn dispatches(&self) -> usize {
        self.stages
            .iter()
            .map(|stage| self.tiles(*stage).len())
            .sum()
    }

    /// Tiles of the Mandelbrot picture; strips of whole rows of the others.
    pub(crate) fn tiles(&self, stage: Stage) -> Vec<Tile> {
        let (columns, rows) = match stage {
            Stage::Mandelbrot => (TILE, TILE),
            Stage::Blur | Stage::Edges => (self.width, STRIP),
        };
        let mut tiles = Vec::new();
        for y in (0..self.height).step_by(rows as usize) {
            for x in (0..self.width).step_by(columns as usize) {
                let (width, height) = (columns.min(self.width - x), rows.min(self.height - y));
                tiles.push(Tile {
                    x,
                    y,
                    width,
                    height,
                });
            }
        }
        tiles
    }

    /// Bytes of the largest tile of any stage.
    pub(crate) fn tile_bytes(&self) -> u64 {
        u64::from((TILE * TILE).max(self.width * STRIP)) * 4
    }

    pub(crate) fn picture_bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * 4
    }

    /// The push constants of a tile's dispatch.
    pub(crate) fn push(&self, stage: Stage, tile: Tile) -> Vec<u8> {
        let words = match stage {
            Stage::Mandelbrot => {
                let (center_x, center_y, scale) = self.view();
                let place = [
                    self.width,
                    self.height,
                    tile.x,
                    tile.y,
                    tile.width,
                    tile.height,
                ];
                let view = [
                    center_x.to_bits(),
                    center_y.to_bits(),
                    scale.to_bits(),
                    self.iterations,
                ];
                [&place[..], &view].concat()
            }
            Stage::Blur | Stage::Edges => vec![self.width, self.height, tile.y, tile.height],
        };
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Centre of the complex plane's part, and its units per pixel.
    pub(crate) fn view(&self) -> (f32, f32, f32) {
        (-0.65, 0.0, 2.6 / self.width.min(self.height) as f32)
    }

    /// The picture that a stage is made of, as raw bytes; empty if of none.
    pub(crate) fn input(&self, stage: Stage) -> Result<Vec<u8>, Error> {
        let path = match stage {
            Stage::Mandelbrot => return Ok(Vec::new()),
            Stage::Blur => self.source_path(),
            Stage::Edges => self.path(Stage::Blur),
        };
        fs::read(&path).map_err(|source| Error::File {
            path,
            what: "cannot be read",
            source,
        })
    }

    /// The file that all processes write their tiles to.
    pub(crate) fn output(&self, stage: Stage) -> Result<File, Error> {
        let path = self.path(stage);
        let file = OpenOptions::new().write(true).open(&path);
        file.map_err(|source| Error::File {
            path,
            what: "cannot be opened",
            source,
        })
    }

    /// Makes the files anew, so that nothing of an earlier arm is left.
    pub(crate) fn lay_out(&self, source: Option<&Picture>) -> Result<(), Error> {
        let write = |path: PathBuf, bytes: &[u8]| {
            fs::write(&path, bytes).map_err(|source| Error::File {
                path,
                what: "cannot be written",
                source,
            })
        };
        let empty = vec![0; usize::try_from(self.picture_bytes()).unwrap_or(0)];
        for stage in &self.stages {
            write(self.path(*stage), &empty)?;
        }
        source.map_or(Ok(()), |source| {
            write(self.source_path(), &source.to_bytes())
        })
    }

    /// A finished picture.
    pub(crate) fn read(&self, stage: Stage) -> Result<Picture, Error> {
        let path = self.path(stage);
        let bytes = fs::read(&path).map_err(|source| Error::File {
            path,
            what: "cannot be read",
            source,
        })?;
        Ok(Picture::from_bytes(self.width, self.height, &bytes))
    }

    fn path(&self, stage: Stage) -> PathBuf {
        match stage {
            Stage::Mandelbrot => self.source_path(),
            Stage::Blur | Stage::Edges => self.folder.join(stage.name()),
        }
    }

    fn source_path(&self) -> PathBuf {
        self.folder.join("source")
    }
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mandelbrot => "mandelbrot",
            Self::Blur => "blur",
            Self::Edges => "edges",
        }
    }

    pub(crate) fn shader(self) -> &'static Shader {
        match self {
            Self::Mandelbrot => &shader::MANDELBROT,
            Self::Blur => &shader::BLUR,
            Self::Edges => &shader::EDGES,
        }
    }
}

impl Tile {
    /// Workgroups of 16 x 16 that cover it.
    pub(crate) fn groups(self) -> [u32; 3] {
        [self.width.div_ceil(16), self.height.div_ceil(16), 1]
    }

    pub(crate) fn bytes(self) -> usize {
        self.width as usize * self.height as usize * 4
    }
}

/// Edge of a Mandelbrot tile, pixels.
const TILE: u32 = 64;
/// Rows of a strip.
const STRIP: u32 = 16;
