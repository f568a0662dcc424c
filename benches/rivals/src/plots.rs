//! Pictures of what was measured over sockets.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::load::Keys;
use crate::machine::description;
use crate::measure::Measure;
use crate::report::Group;
use crate::rounds::SMALL;
use crate::subject::{Library, Rivalry, StoreKind};

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One picture: its file, what it shows, and of what.
struct Picture {
    file: &'static str,
    title: &'static str,
    of: fn(&Measure) -> f64,
}

const PICTURES: [Picture; 4] = [
    Picture { file: "server", title: "server µs/request", of: |measure| measure.server_us },
    Picture { file: "store", title: "store µs/request", of: |measure| measure.store_us },
    Picture { file: "throughput", title: "requests/s", of: |measure| measure.per_second },
    Picture { file: "p99", title: "p99 ms, closed loop", of: |measure| measure.p99 },
];

pub(crate) fn draw(into: &Path, measures: &[Measure]) {
    fs::create_dir_all(into).expect("a folder for results");
    for picture in &PICTURES {
        let file = into.join(picture.file).with_extension("svg");
        picture.draw(&file, measures).unwrap_or_else(|error| {
            panic!("cannot draw {}: {error}", file.display());
        });
    }
}

impl Picture {
    /// Fresh requests on the left, replays on the right, by the number of connections; below, where and of
    /// what that was measured.
    fn draw(&self, file: &Path, measures: &[Measure]) -> Result<(), Box<dyn Error>> {
        let whole = SVGBackend::new(file, (1200, 500)).into_drawing_area();
        whole.fill(&WHITE)?;
        let (halves, foot) = whole.split_vertically(480);
        let small = TextStyle::from(("sans-serif", 12).into_font());
        foot.draw_text(description().trim_end(), &small, (10, 2))?;
        for (half, keys) in halves.split_evenly((1, 2)).iter().zip(Keys::BOTH) {
            self.draw_half(half, keys, measures)?;
        }
        whole.present()?;
        Ok(())
    }

    fn draw_half(
        &self,
        half: &Drawing<'_>,
        keys: Keys,
        measures: &[Measure],
    ) -> Result<(), Box<dyn Error>> {
        let mut loads: Vec<usize> = measures.iter().map(|measure| measure.connections).collect();
        loads.sort_unstable();
        loads.dedup();
        // PostgreSQL would press all others to the floor.
        let drawn = |rivalry: &Rivalry| {
            !matches!(rivalry.store, StoreKind::Postgres | StoreKind::PostgresRow)
        };
        let lines: Vec<_> = Rivalry::ALL
            .into_iter()
            .filter(drawn)
            .map(|rivalry| (rivalry, self.line(rivalry, keys, &loads, measures)))
            .collect();
        let top = lines.iter().flat_map(|(_, line)| line).map(|point| point.1).fold(0.0, f64::max);
        let (first, last) = (loads.first().copied(), loads.last().copied());
        let [first, last] = [first, last].map(|load| load.unwrap_or(1) as f64);
        let mut chart = ChartBuilder::on(half)
            .caption(format!("{}, {}", self.title, keys.name()), ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(35)
            .y_label_area_size(60)
            .build_cartesian_2d(
                (first..last.max(first + 1.0)).log_scale(),
                0.0..(top * 1.1).max(f64::EPSILON),
            )?;
        chart
            .configure_mesh()
            .x_desc("connections")
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .draw()?;
        for (rivalry, line) in lines.into_iter().filter(|(_, line)| !line.is_empty()) {
            let style = style(rivalry);
            let points: Vec<_> =
                line.iter().map(|point| Circle::new(*point, 3, style.filled())).collect();
            chart
                .draw_series(LineSeries::new(line, style))?
                .label(rivalry.to_string())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            chart.draw_series(points)?;
        }
        let labels = &mut chart.configure_series_labels();
        labels
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }

    /// The medians of one, where there is anything to show.
    fn line(
        &self,
        rivalry: Rivalry,
        keys: Keys,
        loads: &[usize],
        measures: &[Measure],
    ) -> Vec<(f64, f64)> {
        let point = |load: &usize| {
            let group = Group::of(measures, keys, *load, SMALL);
            Some((*load as f64, group.spread(rivalry, self.of)?.median))
        };
        loads.iter().filter_map(point).filter(|(_, value)| *value > 0.0).collect()
    }
}

/// A colour for each library, darker or lighter by its store.
fn style(rivalry: Rivalry) -> ShapeStyle {
    let color = match rivalry.library {
        Library::Bare => RGBColor(90, 90, 90),
        Library::TowerIdempotency => RGBColor(200, 40, 40),
        Library::Idempotent => RGBColor(40, 90, 200),
        Library::AxumIdempotent => RGBColor(30, 150, 60),
    };
    let (strength, width) = match rivalry.store {
        StoreKind::Memory => (1.0, 2),
        StoreKind::Redis => (0.7, 3),
        StoreKind::Valkey => (0.4, 3),
        StoreKind::Postgres | StoreKind::PostgresRow => (0.4, 1),
    };
    color.mix(strength).stroke_width(width)
}
