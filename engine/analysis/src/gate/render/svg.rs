//! A decision as a picture in SVG.

use std::fmt::Write as _;

use crate::gate::decision::DecisionReport;

use super::picture::{Mark, Picture};

impl DecisionReport {
    /// The intervals as SVG 1.1, readable on light and dark pages.
    pub fn to_svg(&self) -> String {
        let Picture { width, height, title, marks } = Picture::of(self);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
            escaped(&title)
        );
        for mark in &marks {
            let _ = match mark {
                Mark::Text { x, y, text, colour, bold } => {
                    let fill =
                        if Mark::is_ink(colour) { String::new() } else { format!(" fill=\"{colour}\"") };
                    let weight = if *bold { " font-weight=\"bold\"" } else { "" };
                    writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\"{weight}{fill}>{}</text>", escaped(text))
                }
                Mark::Line { from: [x1, y1], to: [x2, y2], colour, width, dashed } => {
                    let dashes = if *dashed { " stroke-dasharray=\"3 2\"" } else { "" };
                    let width =
                        if *width == 1.0 { String::new() } else { format!(" stroke-width=\"{width}\"") };
                    writeln!(
                        svg,
                        "<line x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"{width}{dashes}/>"
                    )
                }
                Mark::Dot { x, y, radius, colour } => {
                    writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>")
                }
            };
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Text of an XML element; characters that XML does not hold become a replacement.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            control if control.is_control() || matches!(control, '\u{FFFE}' | '\u{FFFF}') => {
                escaped.push('\u{FFFD}')
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_cannot_become_elements() {
        assert_eq!(escaped("<script>&\u{0}\"\n"), "&lt;script&gt;&amp;\u{FFFD}&quot; ");
    }
}
