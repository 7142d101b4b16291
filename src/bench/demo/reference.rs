//! The same pictures on the CPU, step by step as the shaders compute them.

use super::picture::Picture;
use super::plan::Plan;

/// As `shaders/mandelbrot.comp`: the same binary32 operations in the same order, so the same pixels.
pub(crate) fn mandelbrot(plan: &Plan) -> Picture {
    let (center_x, center_y, scale) = plan.view();
    let from_center = |at: u32, size: u32| (i64::from(at) - i64::from(size / 2)) as f32;
    let mut pixels = Vec::new();
    for row in 0..plan.height {
        for column in 0..plan.width {
            let cx = center_x + from_center(column, plan.width) * scale;
            let cy = center_y + from_center(row, plan.height) * scale;
            pixels.push(colour(iterations(cx, cy, plan.iterations), plan.iterations));
        }
    }
    Picture {
        width: plan.width,
        height: plan.height,
        pixels,
    }
}

/// As `shaders/blur.comp`.
pub(crate) fn blur(source: &Picture) -> Picture {
    each_pixel(source, |x, y| {
        let mut sums = [128u32; 4];
        for (row, vertical) in (-2..).zip(WEIGHTS) {
            for (column, horizontal) in (-2..).zip(WEIGHTS) {
                let channels = source.at(x + column, y + row).to_le_bytes();
                for (sum, channel) in sums.iter_mut().zip(channels) {
                    *sum += u32::from(channel) * vertical * horizontal;
                }
            }
        }
        (sums[0] >> 8) | (sums[1] >> 8) << 8 | (sums[2] >> 8) << 16 | (sums[3] >> 8) << 24
    })
}

/// As `shaders/edges.comp`.
pub(crate) fn edges(source: &Picture) -> Picture {
    let luma = |x: i64, y: i64| {
        let [red, green, blue, _] = source.at(x, y).to_le_bytes();
        (77 * i64::from(red) + 150 * i64::from(green) + 29 * i64::from(blue)) >> 8
    };
    each_pixel(source, |x, y| {
        let column = |dx: i64| luma(x + dx, y - 1) + 2 * luma(x + dx, y) + luma(x + dx, y + 1);
        let row = |dy: i64| luma(x - 1, y + dy) + 2 * luma(x, y + dy) + luma(x + 1, y + dy);
        let gradient = (column(1) - column(-1)).abs() + (row(1) - row(-1)).abs();
        let grey = u8::try_from(gradient).unwrap_or(u8::MAX);
        u32::from_le_bytes([grey, grey, grey, 255])
    })
}

fn iterations(cx: f32, cy: f32, most: u32) -> u32 {
    let (mut x, mut y) = (0.0f32, 0.0f32);
    for k in 0..most {
        let (xx, yy) = (x * x, y * y);
        if xx + yy > 4.0 {
            return k;
        }
        let xy = x * y;
        y = (xy + xy) + cy;
        x = (xx - yy) + cx;
    }
    most
}

fn colour(iterations: u32, most: u32) -> u32 {
    if iterations >= most {
        return 0xff00_0000;
    }
    let red = (iterations * 9) & 255;
    let green = (iterations * 5 + 32) & 255;
    let blue = (iterations * 3 + 96) & 255;
    red | green << 8 | blue << 16 | 0xff00_0000
}

fn each_pixel(source: &Picture, pixel: impl Fn(i64, i64) -> u32) -> Picture {
    let (width, height) = (source.width, source.height);
    let places = (0..i64::from(height)).flat_map(|y| (0..i64::from(width)).map(move |x| (x, y)));
    Picture {
        width,
        height,
        pixels: places.map(|(x, y)| pixel(x, y)).collect(),
    }
}

const WEIGHTS: [u32; 5] = [1, 4, 6, 4, 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat_and_has_no_edges() {
        let flat = Picture {
            width: 7,
            height: 5,
            pixels: vec![0x8040_20ff; 35],
        };
        assert_eq!(blur(&flat).differing_pixels(&flat), 0);
        assert!(
            edges(&flat)
                .pixels
                .iter()
                .all(|pixel| *pixel == 0xff00_0000)
        );
    }

    #[test]
    fn a_step_is_an_edge_of_full_brightness() {
        let pixels = [0xff00_0000, 0xff00_0000, 0xffff_ffff, 0xffff_ffff].repeat(4);
        let step = Picture {
            width: 4,
            height: 4,
            pixels,
        };
        let found = edges(&step);
        assert_eq!(found.at(0, 1), 0xff00_0000);
        assert_eq!(found.at(1, 1), 0xffff_ffff);
    }
}
