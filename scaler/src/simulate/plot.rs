//! A picture of a played load, as SVG: demand and capacity, and what waits below them.

use super::Moment;
use std::fmt::Write;

const WIDTH: usize = 960;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 48.0;
const DEMAND: f64 = 260.0;
const GAP: f64 = 44.0;
const QUEUE: f64 = 110.0;
const BOTTOM: f64 = 36.0;

/// One law under play.
pub struct Series {
    /// What it is called.
    pub name: String,
    /// Every second of it.
    pub moments: Vec<Moment>,
}

/// Colours that people who see few of them tell apart too, as dark as text must be on white.
const COLOURS: [&str; 4] = ["#0b62a4", "#b4450d", "#2d7d46", "#7b3fa0"];

/// The picture: the demand as an area, each law's capacity as a line over it, and what waits for each
/// below. Of every stretch that is one pixel wide the most demand, the least capacity and the longest
/// queue are shown, so that nothing short gets lost.
pub fn svg(title: &str, series: &[Series]) -> String {
    let secs = series.iter().map(|s| s.moments.len()).max().unwrap_or(0).max(1);
    let plot = Plot { secs, columns: (WIDTH as f64 - LEFT - RIGHT) as usize };
    let height = TOP + DEMAND + GAP + QUEUE + BOTTOM;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{0}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{0}</text>\n",
        escape(title)
    );
    legend(&mut out, series);
    if plot.each() > 1 {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">of every {} s the most demand, the \
             least capacity, the longest queue</text>",
            WIDTH as f64 - RIGHT,
            TOP + DEMAND + GAP - 6.0,
            plot.each()
        );
    }
    let all = || series.iter().flat_map(|s| &s.moments);
    let most = all().map(|m| m.rate.max(m.capacity)).fold(1.0, f64::max);
    let axis = Axis { top: TOP, height: DEMAND, most: nice(most), unit: "requests/s" };
    axis.draw(&mut out);
    if let Some(first) = series.first() {
        let demand = plot.columns(&first.moments, |m| m.rate, f64::max);
        let mut path = format!("M{LEFT} {:.1}", axis.y(0.0));
        for (x, v) in &demand {
            let _ = write!(path, "L{x:.1} {:.1}", axis.y(*v));
        }
        let _ = writeln!(
            out,
            "<path d=\"{path}L{:.1} {:.1}Z\" fill=\"#c9ced6\"/>",
            demand.last().map_or(LEFT, |(x, _)| *x),
            axis.y(0.0)
        );
    }
    for (s, colour) in series.iter().zip(COLOURS) {
        let capacity = plot.columns(&s.moments, |m| m.capacity, f64::min);
        line(&mut out, &capacity, &axis, colour);
    }
    let longest = all().map(|m| m.queue).fold(1.0, f64::max);
    let below = TOP + DEMAND + GAP;
    let axis = Axis { top: below, height: QUEUE, most: nice(longest), unit: "waiting" };
    axis.draw(&mut out);
    for (s, colour) in series.iter().zip(COLOURS) {
        let queue = plot.columns(&s.moments, |m| m.queue, f64::max);
        line(&mut out, &queue, &axis, colour);
    }
    plot.times(&mut out, below + QUEUE);
    out + "</svg>\n"
}

/// Seconds across pixels.
struct Plot {
    secs: usize,
    columns: usize,
}

impl Plot {
    /// Seconds in a column.
    fn each(&self) -> usize {
        self.secs.div_ceil(self.columns.max(1)).max(1)
    }

    /// One point for each column: of its seconds the one that `pick` prefers.
    fn columns(
        &self,
        moments: &[Moment],
        of: impl Fn(&Moment) -> f64,
        pick: impl Fn(f64, f64) -> f64,
    ) -> Vec<(f64, f64)> {
        let each = self.each();
        let point = |(i, chunk): (usize, &[Moment])| {
            let value = chunk.iter().map(&of).reduce(&pick).unwrap_or(0.0);
            (self.x(i * each), value)
        };
        moments.chunks(each).enumerate().map(point).collect()
    }

    fn x(&self, second: usize) -> f64 {
        LEFT + second as f64 / self.secs as f64 * (WIDTH as f64 - LEFT - RIGHT)
    }

    fn times(&self, out: &mut String, y: f64) {
        const STEPS: [usize; 12] =
            [60, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800, 2_419_200];
        let step = STEPS.into_iter().find(|s| self.secs / s <= 8).unwrap_or(self.secs);
        for second in (0..=self.secs).step_by(step.max(1)) {
            let x = self.x(second);
            // The last one must not run over the edge.
            let anchor = if x > WIDTH as f64 - 2.0 * RIGHT { "end" } else { "middle" };
            let _ = writeln!(
                out,
                "<path d=\"M{x:.1} {y}v5\" stroke=\"#666\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"{anchor}\" fill=\"#333\">{}</text>",
                y + 19.0,
                clock(second)
            );
        }
    }
}

struct Axis {
    top: f64,
    height: f64,
    most: f64,
    unit: &'static str,
}

impl Axis {
    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - value / self.most)
    }

    fn draw(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#333\">{}</text>",
            self.top - 6.0,
            self.unit
        );
        for part in 0..=2 {
            let value = self.most * f64::from(part) / 2.0;
            let y = self.y(value);
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\" fill=\"#333\">{value}</text>",
                WIDTH as f64 - RIGHT,
                LEFT - 6.0,
                y + 4.0
            );
        }
    }
}

fn legend(out: &mut String, series: &[Series]) {
    let mut x = WIDTH as f64 - RIGHT;
    let names =
        series.iter().zip(COLOURS).map(|(s, colour)| (format!("{}: capacity", s.name), colour));
    let names: Vec<_> = std::iter::once(("demand".to_owned(), "#c9ced6")).chain(names).collect();
    for (name, colour) in names.iter().rev() {
        x -= 7.6 * name.chars().count() as f64 + 36.0;
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"29\" width=\"14\" height=\"8\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"38\" fill=\"#333\">{}</text>",
            x + 19.0,
            escape(name)
        );
    }
}

fn line(out: &mut String, points: &[(f64, f64)], axis: &Axis, colour: &str) {
    let mut path = String::new();
    for (n, (x, value)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {:.1}", if n == 0 { 'M' } else { 'L' }, axis.y(*value));
    }
    let _ = writeln!(
        out,
        "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>"
    );
}

/// The next round number whose half is one too.
fn nice(most: f64) -> f64 {
    let power = 10f64.powf(most.log10().floor());
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|n| *n >= most)
        .unwrap_or(most)
}

fn clock(second: usize) -> String {
    let (days, hours, minutes) = (second / 86_400, second / 3600 % 24, second / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => "0".to_owned(),
        (0, h, m) => format!("{h}:{m:02}"),
        (d, 0, 0) => format!("day {d}"),
        (d, h, m) => format!("day {d} {h}:{m:02}"),
    }
}

fn escape(text: &str) -> String {
    let text = text.replace(char::is_control, "\u{fffd}");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
