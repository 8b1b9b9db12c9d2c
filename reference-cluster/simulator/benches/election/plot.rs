//! Two panels of cumulative distributions as SVG, like the paper's figure 16: above, how much
//! randomness helps (logarithmic time), below, how short a timeout can be (linear time).

use std::fmt::Write;

use crate::sample::Sample;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 230.0;
/// Left and right, above and below the area of a panel.
const MARGIN: [f64; 4] = [52.0, 110.0, 26.0, 40.0];
const COLOURS: [&str; 6] = [
    "#b2182b", "#e08214", "#4d9221", "#1b7fa8", "#5e3c99", "#444444",
];

/// One panel.
pub struct Panel<'s> {
    pub title: &'static str,
    /// Ends of the axis in milliseconds.
    pub range: (f64, f64),
    pub logarithmic: bool,
    /// Where numbers stand.
    pub ticks: &'static [f64],
    pub curves: Vec<(String, &'s Sample)>,
}

/// The whole drawing.
pub fn draw(panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fdfdfb\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let top = HEIGHT * number as f64;
        writeln!(svg, "<g transform=\"translate(0 {top})\">").unwrap();
        panel.axes(&mut svg);
        for curve in panel.curves.iter().zip(COLOURS).enumerate() {
            panel.curve(&mut svg, curve);
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel<'_> {
    fn x(&self, millis: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (low, high) = (scale(self.range.0), scale(self.range.1));
        let share = (scale(millis) - low) / (high - low);
        MARGIN[0] + share * (WIDTH - MARGIN[0] - MARGIN[1])
    }

    fn y(share: f64) -> f64 {
        HEIGHT - MARGIN[3] - share * (HEIGHT - MARGIN[2] - MARGIN[3])
    }

    fn axes(&self, svg: &mut String) {
        let (left, right) = (MARGIN[0], WIDTH - MARGIN[1]);
        let (bottom, middle) = (Self::y(0.0), f64::midpoint(left, right));
        let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
            let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"");
            writeln!(svg, "<text {place} fill=\"#222\">{words}</text>").unwrap();
        };
        text(left, 17.0, "start", self.title);
        text(middle, bottom + 32.0, "middle", "time without leader (ms)");
        for tick in self.ticks {
            text(self.x(*tick), bottom + 15.0, "middle", &tick.to_string());
        }
        let shares = [0.0, 0.25, 0.5, 0.75, 1.0];
        for share in shares {
            let words = format!("{:.0} %", share * 100.0);
            text(left - 6.0, Self::y(share) + 4.0, "end", &words);
        }
        let mut lines = String::new();
        for share in shares {
            write!(lines, "M{left} {:.1}H{right}", Self::y(share)).unwrap();
        }
        for tick in self.ticks {
            write!(lines, "M{:.1} {:.1}V{bottom}", self.x(*tick), Self::y(1.0)).unwrap();
        }
        writeln!(svg, "<path d=\"{lines}\" stroke=\"#ccc\" fill=\"none\"/>").unwrap();
    }

    fn curve(&self, svg: &mut String, (row, ((name, sample), colour)): Curve) {
        let mut points = String::new();
        for share in (0..=100).map(|part| f64::from(part) / 100.0) {
            let millis = sample.quantile(share);
            if millis <= self.range.1 {
                write!(points, "{:.1},{:.1} ", self.x(millis), Self::y(share)).unwrap();
            }
        }
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            points.trim_end()
        )
        .unwrap();
        let none = if points.is_empty() { ": none" } else { "" };
        let (x, y) = (
            WIDTH - MARGIN[1] + 12.0,
            MARGIN[2] + 12.0 + row as f64 * 16.0,
        );
        writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{name} ms{none}</text>"
        )
        .unwrap();
    }
}

/// Its row in the legend, its name and sample, its colour.
type Curve<'c, 's> = (usize, (&'c (String, &'s Sample), &'static str));
