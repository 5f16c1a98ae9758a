//! The picture of a record: a group of bars a row, their lengths the time over ours on a scale of
//! tens, with the quartiles as whiskers.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contest::Kind;
use crate::hold::{Entry, Outcome};
use crate::report::record::{Record, is_drawn};
use crate::report::show;

const WIDTH: i32 = 1100;
const LEFT: i32 = 290;
const RIGHT: i32 = 150;
const TOP: i32 = 64;
const BAR: i32 = 15;
const GAP: i32 = 26;
/// The scale: from a tenth of our time to a thousand times it.
const LEAST: f64 = 0.1;
const MOST: f64 = 1000.0;

const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(205, 205, 205);

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Ours => RGBColor(31, 119, 80),
        Kind::Threads => RGBColor(120, 140, 190),
        Kind::Processes => RGBColor(205, 145, 85),
        Kind::Python => RGBColor(225, 195, 90),
        Kind::Limit => RGBColor(165, 165, 165),
    }
}

fn x_of(ratio: f64) -> i32 {
    let part = (ratio.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    LEFT + (part * f64::from(WIDTH - LEFT - RIGHT)) as i32
}

/// The rows that stand for the others in the short picture.
const SHORT: [&str; 8] = [
    "a/fresh/f64",
    "a/existing/f64",
    "d/existing",
    "e/hot",
    "f/awaited/256",
    "g/hot/64B",
    "g/hot/64MiB",
    "h/start",
];

/// Draws the rows that have a rival, or a few that stand for them.
pub(crate) fn draw(record: &Record, short: bool, path: &Path) -> Result<(), String> {
    let is_wanted = |row: &&Outcome| is_drawn(row) && (!short || SHORT.contains(&&*row.name));
    let rows: Vec<&Outcome> = record.rows.iter().filter(is_wanted).collect();
    let bars: usize = rows.iter().map(|row| row.contenders.len()).sum();
    let height = TOP + 30 + bars as i32 * BAR + rows.len() as i32 * GAP;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    paint(record, &rows, height, &area).map_err(|error| error.to_string())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

fn paint(record: &Record, rows: &[&Outcome], height: i32, area: &Area<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let title = format!(
        "gristmill beside its peers, {}: time over gristmill's (whiskers: quartiles)",
        record.date
    );
    label(area, &title, 12, 18, HPos::Left, 16, INK)?;
    let kinds = [
        (Kind::Ours, "gristmill"),
        (Kind::Threads, "threads"),
        (Kind::Processes, "processes"),
        (Kind::Python, "Python pools"),
        (Kind::Limit, "what the machine has to give"),
    ];
    let mut x = 14;
    for (kind, name) in kinds {
        area.draw(&Rectangle::new(
            [(x, 32), (x + 11, 43)],
            colour(kind).filled(),
        ))?;
        label(area, name, x + 16, 38, HPos::Left, 12, INK)?;
        x += 40 + 7 * name.len() as i32;
    }
    for ratio in [0.1, 1.0, 10.0, 100.0, 1000.0] {
        let x = x_of(ratio);
        let line = if ratio == 1.0 { INK } else { FAINT };
        area.draw(&PathElement::new([(x, TOP), (x, height - 12)], line))?;
        label(
            area,
            &format!("{ratio}×"),
            x,
            TOP - 8,
            HPos::Center,
            11,
            INK,
        )?;
    }
    let mut y = TOP + 8;
    for row in rows {
        let title = format!("{}: {}", row.name, row.what);
        label(area, &title, 12, y + 6, HPos::Left, 12, INK)?;
        y += GAP - 8;
        for entry in &row.contenders {
            bar(area, row, entry, y)?;
            y += BAR;
        }
        y += 8;
    }
    area.present()
}

fn bar(area: &Area<'_>, row: &Outcome, entry: &Entry, y: i32) -> Drawn {
    let middle = y + BAR / 2;
    let short: String = entry.name.chars().take(42).collect();
    label(area, &short, LEFT - 8, middle, HPos::Right, 11, INK)?;
    let start = x_of(LEAST);
    let end = x_of(entry.ratio.median);
    let body = Rectangle::new(
        [(start, y + 2), (end, y + BAR - 2)],
        colour(entry.kind).filled(),
    );
    area.draw(&body)?;
    let [low, high] = [entry.ratio.low, entry.ratio.high].map(x_of);
    area.draw(&PathElement::new([(low, middle), (high, middle)], INK))?;
    for x in [low, high] {
        area.draw(&PathElement::new([(x, middle - 3), (x, middle + 3)], INK))?;
    }
    let text = match entry.ratio.median {
        ratio if ratio > MOST => format!("{} ({ratio:.0}×)", show(entry.time.median, row.unit)),
        _ => show(entry.time.median, row.unit),
    };
    label(area, &text, end.max(high) + 6, middle, HPos::Left, 10, INK)
}

fn label(
    area: &Area<'_>,
    text: &str,
    x: i32,
    y: i32,
    side: HPos,
    size: i32,
    ink: RGBColor,
) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&ink);
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), (x, y), style))
}
