//! Pictures in memory and as PNG files.

use crate::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

/// Packed rgba8, red in the low byte, row by row.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixels: Vec<u32>,
}

impl Picture {
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let file =
            File::open(path).map_err(|source| file_error(path, "cannot be opened", source))?;
        let decode = |source| Error::Decode {
            path: path.to_owned(),
            source,
        };
        let mut decoder = png::Decoder::new(BufReader::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(decode)?;
        let (width, height) = (reader.info().width, reader.info().height);
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Error::Usage("the picture has more than 32 Mi pixels"));
        }
        let size = reader.output_buffer_size();
        let mut bytes = vec![0; size.ok_or(Error::Usage("the picture is too large"))?];
        let frame = reader.next_frame(&mut bytes).map_err(decode)?;
        let bytes = &bytes[..frame.buffer_size()];
        let pixels = bytes.chunks_exact(frame.color_type.samples());
        Ok(Self {
            width,
            height,
            pixels: pixels.map(rgba).collect(),
        })
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), Error> {
        let file =
            File::create(path).map_err(|source| file_error(path, "cannot be written", source))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width, self.height);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.to_bytes())?;
        Ok(writer.finish()?)
    }

    pub(crate) fn from_bytes(width: u32, height: u32, bytes: &[u8]) -> Self {
        let pixels = bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect();
        Self {
            width,
            height,
            pixels,
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.pixels
            .iter()
            .flat_map(|pixel| pixel.to_le_bytes())
            .collect()
    }

    /// The pixel; beyond the border the border's.
    pub(crate) fn at(&self, x: i64, y: i64) -> u32 {
        let inside =
            |at: i64, size: u32| usize::try_from(at.clamp(0, i64::from(size) - 1)).unwrap_or(0);
        self.pixels[inside(y, self.height) * self.width as usize + inside(x, self.width)]
    }

    /// How many pixels differ; all of them if the sizes do.
    pub(crate) fn differing_pixels(&self, other: &Self) -> usize {
        if (self.width, self.height) != (other.width, other.height) {
            return self.pixels.len();
        }
        self.pixels
            .iter()
            .zip(&other.pixels)
            .filter(|(mine, theirs)| mine != theirs)
            .count()
    }
}

/// Of a grey, grey-alpha, rgb or rgba pixel.
fn rgba(samples: &[u8]) -> u32 {
    u32::from_le_bytes(match *samples {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [red, green, blue] => [red, green, blue, 255],
        [red, green, blue, alpha] => [red, green, blue, alpha],
        _ => [0; 4],
    })
}

fn file_error(path: &Path, what: &'static str, source: std::io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        what,
        source,
    }
}

/// 128 MiB, the least `maxStorageBufferRange` that drivers have in practice.
const MAX_PIXELS: u64 = 1 << 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_picture_loads_again() {
        let pixels = (0..15).map(|index| index * 0x0101_0107).collect();
        let picture = Picture {
            width: 5,
            height: 3,
            pixels,
        };
        let path = std::env::temp_dir().join(format!("vkmps-bench-{}.png", std::process::id()));
        picture
            .save(&path)
            .expect("the temporary folder is writable");
        let loaded = Picture::load(&path).expect("it was just saved");
        std::fs::remove_file(&path).expect("it was just saved");
        assert_eq!(picture.differing_pixels(&loaded), 0);
    }
}
