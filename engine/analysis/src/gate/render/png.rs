//! A decision as a picture in PNG, for places that show no SVG. Letters are those of an old terminal, eight by eight
//! points, so that no font has to come along.

use font8x8::UnicodeFonts as _;

use crate::error::{AnalysisError, Result};
use crate::gate::decision::DecisionReport;

use super::picture::{Mark, Picture};

/// Pixels for each unit of the picture.
const SCALE: f64 = 2.0;

/// Size of a letter in units of the picture.
const LETTER: f64 = 8.0;

/// What stands for letters that the font does not have.
const UNKNOWN: char = '?';

/// Points along each side of a pixel by which the edge of a circle is smoothed.
const SAMPLES: usize = 4;

impl DecisionReport {
    /// The intervals as a PNG of 8-bit colours, the same bytes for the same report: the marks of [`Self::to_svg`] at twice
    /// their size. Letters beyond Latin ones come out as question marks.
    ///
    /// # Errors
    /// `invalid_argument` when the encoder refuses the picture, which is far smaller than what it refuses.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let picture = Picture::of(self);
        let mut canvas = Canvas::new(&picture);
        picture.marks.iter().for_each(|mark| canvas.draw(mark));
        canvas.encoded().map_err(|error| AnalysisError::InvalidArgument {
            name: "picture",
            value: error.to_string(),
            expected: "one that PNG holds",
        })
    }
}

/// Pixels of three bytes, row by row.
struct Canvas {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Canvas {
    /// A white one.
    fn new(picture: &Picture) -> Self {
        let (width, height) = ((picture.width * SCALE) as usize, (picture.height * SCALE) as usize);
        Self { width, height, bytes: vec![255; 3 * width * height] }
    }

    fn draw(&mut self, mark: &Mark) {
        match mark {
            Mark::Text { x, y, text, colour, bold } => {
                for (i, letter) in text.chars().enumerate() {
                    self.letter(letter, x + LETTER * i as f64, y - LETTER + 1.0, colour, *bold);
                }
            }
            Mark::Line { from, to, colour, width, dashed } => self.line(*from, *to, colour, *width, *dashed),
            Mark::Dot { x, y, radius, colour } => self.dot(*x, *y, *radius, colour),
        }
    }

    fn letter(&mut self, letter: char, x: f64, y: f64, colour: &str, bold: bool) {
        let glyph =
            |letter: char| font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
        let Some(rows) = glyph(letter).or_else(|| glyph(UNKNOWN)) else { return };
        let point = LETTER / 8.0;
        for (row, bits) in rows.into_iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                let (left, top) = (x + point * f64::from(column), y + point * row as f64);
                let right = left + point * if bold { 1.5 } else { 1.0 };
                self.fill([left, top], [right, top + point], colour);
            }
        }
    }

    /// A line along an axis, in dashes of three units with gaps of two.
    fn line(&mut self, from: [f64; 2], to: [f64; 2], colour: &str, width: f64, dashed: bool) {
        let upright = from[0] == to[0];
        let (start, end) = if upright { (from[1], to[1]) } else { (from[0], to[0]) };
        let across = if upright { from[0] } else { from[1] };
        let dash = if dashed { 3.0 } else { end - start };
        let mut at = start;
        while at < end {
            let (begin, stop) = (at, (at + dash).min(end));
            let (low, high) = (across - 0.5 * width, across + 0.5 * width);
            if upright {
                self.fill([low, begin], [high, stop], colour);
            } else {
                self.fill([begin, low], [stop, high], colour);
            }
            at = stop + 2.0;
        }
    }

    /// A rectangle, to whole pixels; at least one, so that nothing thin is lost.
    fn fill(&mut self, [left, top]: [f64; 2], [right, bottom]: [f64; 2], colour: &str) {
        let pixels = |from: f64, to: f64, most: usize| {
            let first = (from * SCALE).round().max(0.0) as usize;
            let last = ((to * SCALE).round().max(0.0) as usize).max(first + 1);
            first.min(most)..last.min(most)
        };
        for row in pixels(top, bottom, self.height) {
            for column in pixels(left, right, self.width) {
                self.blend(column, row, colour, 1.0);
            }
        }
    }

    fn dot(&mut self, x: f64, y: f64, radius: f64, colour: &str) {
        let (x, y, radius) = (x * SCALE, y * SCALE, radius * SCALE);
        let reach = |center: f64, most: usize| {
            (center - radius).floor().max(0.0) as usize
                ..((center + radius).ceil().max(0.0) as usize).min(most)
        };
        for row in reach(y, self.height) {
            for column in reach(x, self.width) {
                let offset = |i: usize| (i as f64 + 0.5) / SAMPLES as f64;
                let inside = |i: usize| {
                    let (dx, dy) =
                        (column as f64 + offset(i % SAMPLES) - x, row as f64 + offset(i / SAMPLES) - y);
                    dx * dx + dy * dy <= radius * radius
                };
                let hit = (0..SAMPLES * SAMPLES).filter(|i| inside(*i)).count();
                self.blend(column, row, colour, hit as f64 / (SAMPLES * SAMPLES) as f64);
            }
        }
    }

    /// Covers a share of a pixel.
    fn blend(&mut self, column: usize, row: usize, colour: &str, share: f64) {
        let at = 3 * (row * self.width + column);
        let Some(pixel) = self.bytes.get_mut(at..at + 3) else { return };
        for (byte, new) in pixel.iter_mut().zip(parts(colour)) {
            *byte = (f64::from(*byte) * (1.0 - share) + f64::from(new) * share).round() as u8;
        }
    }

    fn encoded(&self) -> std::result::Result<Vec<u8>, png::EncodingError> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        writer.finish()?;
        Ok(file)
    }
}

/// Red, green and blue of `#rrggbb`.
fn parts(colour: &str) -> [u8; 3] {
    let number = u32::from_str_radix(colour.trim_start_matches('#'), 16).unwrap_or(0);
    let [_, red, green, blue] = number.to_be_bytes();
    [red, green, blue]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(marks: &[Mark]) -> Canvas {
        let picture = Picture { width: 20.0, height: 12.0, title: String::new(), marks: marks.to_vec() };
        let mut canvas = Canvas::new(&picture);
        marks.iter().for_each(|mark| canvas.draw(mark));
        canvas
    }

    fn at(canvas: &Canvas, column: usize, row: usize) -> [u8; 3] {
        let at = 3 * (row * canvas.width + column);
        [canvas.bytes[at], canvas.bytes[at + 1], canvas.bytes[at + 2]]
    }

    #[test]
    fn marks_are_drawn_where_they_are() {
        let line =
            Mark::Line { from: [2.0, 6.0], to: [18.0, 6.0], colour: "#cf222e", width: 2.0, dashed: false };
        let dot = Mark::Dot { x: 10.0, y: 6.0, radius: 3.0, colour: "#1a7f37" };
        let canvas = canvas(&[line, dot]);
        assert_eq!((canvas.width, canvas.height), (40, 24));
        assert_eq!(at(&canvas, 6, 11), [0xcf, 0x22, 0x2e]);
        assert_eq!(at(&canvas, 20, 12), [0x1a, 0x7f, 0x37]);
        assert_eq!((at(&canvas, 1, 11), at(&canvas, 6, 2)), ([255; 3], [255; 3]));
    }

    #[test]
    fn what_lies_outside_is_cut_and_unknown_letters_are_marked() {
        let text =
            |text: &str| Mark::Text { x: -3.0, y: 8.0, text: text.to_owned(), colour: "#000000", bold: true };
        assert_eq!(canvas(&[text("漢字")]).bytes, canvas(&[text("??")]).bytes);
        assert_ne!(canvas(&[text("AB")]).bytes, canvas(&[]).bytes);
        let far = Mark::Dot { x: 500.0, y: -80.0, radius: 4.0, colour: "#000000" };
        assert_eq!(canvas(&[far]).bytes, canvas(&[]).bytes);
    }
}
