//! Plots as SVG: both axes logarithmic, one panel below the other, readable on light and on dark pages.

use std::fmt::Write;

use super::figures::shown;

/// One panel: a line through points.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What is shown, with its unit.
    pub title: String,
    /// `x` and `y`, in order of `x`.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const PANEL_HEIGHT: f64 = 190.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const ABOVE: f64 = 30.0;
const BELOW: f64 = 24.0;

/// The plot; `x` says what runs along the lower edge, with its unit.
pub fn svg(title: &str, x: &str, panels: &[Panel]) -> String {
    let height = 34.0 + PANEL_HEIGHT * panels.len() as f64 + 26.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#57606a}}.h{{font-size:14px;font-weight:600}}.g{{stroke:#8c959f;stroke-opacity:.35}}\
         .l{{fill:none;stroke:#0969da;stroke-width:2}}.p{{fill:#0969da}}\
         @media(prefers-color-scheme:dark){{text{{fill:#9ea7b3}}.l{{stroke:#58a6ff}}.p{{fill:#58a6ff}}}}</style>\n"
    );
    let _ = writeln!(out, "<text class=\"h\" x=\"{LEFT}\" y=\"20\">{}</text>", escaped(title));
    let xs =
        Scale::around(panels.iter().flat_map(|panel| panel.points.iter().map(|point| point.0)), LEFT, WIDTH - RIGHT);
    for (number, panel) in panels.iter().enumerate() {
        let top = 34.0 + PANEL_HEIGHT * number as f64;
        draw(&mut out, panel, &xs, top + ABOVE, top + PANEL_HEIGHT - BELOW);
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    let _ = writeln!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", height - 10.0, escaped(x));
    out + "</svg>\n"
}

fn draw(out: &mut String, panel: &Panel, xs: &Scale, top: f64, bottom: f64) {
    let ys = Scale::around(panel.points.iter().map(|point| point.1), bottom, top);
    let right = WIDTH - RIGHT;
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top - 10.0, escaped(&panel.title));
    for y in ys.marks() {
        let at = ys.at(y);
        let _ = writeln!(out, "<line class=\"g\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        let _ =
            writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, at + 4.0, shown(y));
    }
    for x in xs.marks() {
        let at = xs.at(x);
        let _ = writeln!(out, "<line class=\"g\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 16.0, shown(x));
    }
    let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", xs.at(*x), ys.at(*y));
    let places: Vec<String> = panel.points.iter().map(place).collect();
    let _ = writeln!(out, "<polyline class=\"l\" points=\"{}\"/>", places.join(" "));
    for (x, y) in &panel.points {
        let (at, up) = (xs.at(*x), ys.at(*y));
        let _ = writeln!(out, "<circle class=\"p\" cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"3.5\"/>");
        // Beside its point, and inside the picture.
        let anchor = if at > right - 50.0 { "end" } else { "middle" };
        let _ =
            writeln!(out, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>", up - 8.0, shown(*y));
    }
}

/// Powers of ten, from one edge to the other.
struct Scale {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(logarithm) {
            (least, most) = (least.min(value.floor()), most.max(value.ceil()));
        }
        if !least.is_finite() {
            (least, most) = (0.0, 1.0);
        }
        Self { least, most: most.max(least + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (logarithm(value) - self.least) / (self.most - self.least) * (self.to - self.from)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.least as i32..=self.most as i32).map(|power| 10f64.powi(power))
    }
}

/// Nothing has none; a thousandth is near enough to nothing here.
fn logarithm(value: f64) -> f64 {
    value.max(1e-3).log10()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_every_point_inside_its_edges() {
        let points = vec![(10.0, 0.0), (100.0, 12.0), (10_000.0, 12_345.0)];
        let plot = svg("cost & size", "connections", &[Panel { title: "memory, MB".into(), points }]);
        assert_eq!(plot.matches("<circle").count(), 3);
        assert!(plot.contains("12.3 k") && plot.contains("cost &amp; size") && plot.contains("connections"));
        let numbers = |name: &str| -> Vec<f64> {
            let before = format!(" {name}=\"");
            plot.split(&before)
                .skip(1)
                .map(|rest| rest.split('"').next().expect("a value").parse().expect("a number"))
                .collect()
        };
        assert!(numbers("cx").iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)), "{:?}", numbers("cx"));
        assert!(numbers("cy").iter().all(|y| (0.0..=34.0 + PANEL_HEIGHT).contains(y)), "{:?}", numbers("cy"));
    }
}
