//! A sweep as a picture: latency, CPU time per packet and what became of the packets, over what was offered.

use crate::sweep::{Point, Purpose, Sweep};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (860, 960);
const PANELS: usize = 3;
const INK: [RGBColor; 3] = [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 127, 44)];

type Pixels<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// A line's name, and its value at each point.
type Line = (&'static str, fn(&Point) -> f64);

const LATENCIES: [Line; 3] = [
    ("p50", |point| point.window.latency_ms(0.5)),
    ("p99", |point| point.window.latency_ms(0.99)),
    ("p99.9", |point| point.window.latency_ms(0.999)),
];
const COSTS: [Line; 1] = [("CPU time per forwarded packet", |point| point.window.cpu_ns_per_packet() / 1e3)];
const FATES: [Line; 2] = [
    ("forwarded", |point| point.forwarded_per_second() / 1e3),
    ("shed", |point| point.shed_per_second() / 1e3),
];

pub(crate) fn draw(path: &Path, sweep: &Sweep) -> Result<(), String> {
    try_draw(path, sweep).map_err(|why| format!("{}: {why}", path.display()))
}

fn try_draw(path: &Path, sweep: &Sweep) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut points: Vec<&Point> =
        sweep.points.iter().filter(|point| point.purpose != Purpose::Recovery).collect();
    points.sort_by(|a, b| a.offered_per_second().total_cmp(&b.offered_per_second()));
    let chart = Chart { points: &points, most: sweep.most.offered_per_second() / 1e3 };
    let panels = root.split_evenly((PANELS, 1));
    let [top, middle, bottom] = &panels[..] else { return Err("three panels".into()) };
    let highest = chart.highest(&LATENCIES);
    chart.panel(top, "forwarding latency, ms", (0.01..highest * 2.0).log_scale(), &LATENCIES)?;
    chart.panel(middle, "µs of CPU", 0.0..chart.highest(&COSTS) * 1.2, &COSTS)?;
    chart.panel(bottom, "thousand packets a second", 0.0..chart.highest(&FATES) * 1.1, &FATES)?;
    root.present()?;
    Ok(())
}

struct Chart<'a> {
    points: &'a [&'a Point],
    /// Thousand packets a second that were borne at most.
    most: f64,
}

impl Chart<'_> {
    fn highest(&self, lines: &[Line]) -> f64 {
        let values = lines.iter().flat_map(|(_, value)| self.points.iter().map(|point| value(point)));
        values.fold(0.1, f64::max)
    }

    fn panel<Y>(&self, area: &Pixels<'_>, unit: &str, range: Y, lines: &[Line]) -> Result<(), Box<dyn Error>>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let offered = |point: &Point| point.offered_per_second() / 1e3;
        let right = self.points.last().map_or(1.0, |point| offered(point)) * 1.05;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right, range)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("offered, thousand packets a second")
            .x_label_formatter(&|thousands| format!("{thousands:.0}"))
            .y_desc(unit)
            .label_style(("sans-serif", 13))
            .draw()?;
        let (low, high) = {
            let range = chart.plotting_area().get_y_range();
            (range.start, range.end)
        };
        let limit = [(self.most, low), (self.most, high)];
        chart.draw_series(DashedLineSeries::new(limit, 4, 4, BLACK.mix(0.5).into()))?;
        for ((name, value), ink) in lines.iter().zip(INK) {
            let at = |point: &&&Point| (offered(point), value(point).max(low));
            chart
                .draw_series(LineSeries::new(
                    self.points.iter().map(|point| at(&point)),
                    ink.stroke_width(2),
                ))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], ink.stroke_width(2)));
            chart.draw_series(self.points.iter().map(|point| Circle::new(at(&point), 3, ink.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .label_font(("sans-serif", 13))
            .draw()?;
        Ok(())
    }
}
