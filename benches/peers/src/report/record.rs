//! The dated record: all figures as JSON, the table as Markdown, and the picture.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::contest::{Kind, Unit};
use crate::hold::Outcome;
use crate::report::reasons::reason;
use crate::report::{phrase, picture, show};

/// Everything about a run, or about all runs of a day.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) seconds: f64,
    pub(crate) facts: BTreeMap<String, String>,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rows: Vec<Outcome>,
}

/// Writes the record's files, named by its date, and says where. Rows that were recorded the same
/// day and are not in this run stay; each says when it was.
pub(crate) fn write(record: &mut Record, place: &Path) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    fs::create_dir_all(place).map_err(text)?;
    // What cannot be read was written by another version of this.
    let before = read(&place.join(format!("{}.json", record.date)));
    let before = before.map_or(Vec::new(), |before| before.rows);
    let is_new = |row: &Outcome| record.rows.iter().all(|other| other.name != row.name);
    let mut rows: Vec<Outcome> = before.into_iter().filter(is_new).collect();
    rows.append(&mut record.rows);
    let names = crate::work::rows(true);
    rows.sort_by_key(|row| names.iter().position(|(name, _)| *name == row.name));
    record.rows = rows;
    save(record, place)?;
    println!("recorded in {}/{}.md", place.display(), record.date);
    Ok(())
}

/// Writes a record's pages and pictures again.
pub(crate) fn redraw(file: &Path) -> Result<(), String> {
    save(&read(file)?, file.parent().unwrap_or(Path::new(".")))
}

fn read(file: &Path) -> Result<Record, String> {
    let json = fs::read_to_string(file).map_err(|error| error.to_string())?;
    serde_json::from_str(&json).map_err(|error| error.to_string())
}

/// Figures, table, a picture of a few rows and one of all.
fn save(record: &Record, place: &Path) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let file = |end: &str| place.join(format!("{}{end}", record.date));
    let json = serde_json::to_string(record).map_err(|error| error.to_string())?;
    // A line a contender, so that two records can be compared.
    let json = json.replace("{\"name\":", "\n{\"name\":") + "\n";
    fs::write(file(".json"), json).map_err(text)?;
    fs::write(file(".md"), markdown(record)).map_err(text)?;
    picture::draw(record, true, &file(".svg"))?;
    picture::draw(record, false, &file("-all.svg"))
}

fn markdown(record: &Record) -> String {
    let mut page = format!("# Beside the peers, {}\n\n", record.date);
    let _ = write!(
        page,
        "`{}`, {:.0} s. How to read it, and what is unfair to whom: \
         [METHODOLOGY.md](../METHODOLOGY.md).\n\n![All rows with a rival]({}-all.svg)\n\n",
        record.command, record.seconds, record.date
    );
    page += "| | |\n|---|---|\n";
    for (name, fact) in &record.facts {
        let _ = writeln!(page, "| {} | {fact} |", name.replace('_', " "));
    }
    let versions = record
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    let versions = versions.collect::<Vec<_>>().join(", ");
    let _ = writeln!(page, "| peers | {versions} |");
    for row in &record.rows {
        page += &section(row);
    }
    page
}

fn section(row: &Outcome) -> String {
    let mut page = format!("\n## {}\n\n{}.\n\n", row.name, row.what);
    let classes = row.classes();
    let classes = classes
        .iter()
        .map(|(class, n)| format!("{} ×{n}", class.name()));
    let _ = write!(
        page,
        "{} rounds at {}; processors {}; load {}.\n\n",
        row.rounds,
        row.time,
        classes.collect::<Vec<_>>().join(", "),
        row.load
    );
    page += "| who | median [quartiles] | p99, p99.9 | theirs over ours [quartiles] |\n";
    page += "|---|---|---|---|\n";
    for (index, entry) in row.contenders.iter().enumerate() {
        let show = |value| show(value, row.unit);
        let time = entry.time;
        let tail = entry.tail.map_or(String::new(), |[_, p99, p999]| {
            format!("{}, {}", show(p99), show(p999))
        });
        let ratio = entry.ratio;
        let ratio = match index {
            0 => String::new(),
            _ => format!("{:.2} [{:.2}, {:.2}]", ratio.median, ratio.low, ratio.high),
        };
        let wrong = if entry.right { "" } else { " **wrong answer**" };
        let name = match entry.kind {
            Kind::Ours => format!("**{}**", entry.name),
            Kind::Limit => format!("*{}*", entry.name),
            _ => entry.name.clone(),
        };
        let [low, middle, high] = [time.low, time.median, time.high].map(show);
        let _ = writeln!(
            page,
            "| {name}{wrong} | {middle} [{low}, {high}] | {tail} | {ratio} |"
        );
    }
    for (name, why) in &row.missing {
        let _ = writeln!(page, "| {name} | missing: {why} | | |");
    }
    if !row.aims.is_empty() {
        page += "\n";
    }
    for verdict in &row.aims {
        let _ = writeln!(page, "- {}", phrase(verdict, row.unit));
    }
    if row.aims.iter().any(|verdict| !verdict.met) {
        let reason = reason(&row.name).unwrap_or("Nobody has looked yet why.");
        let _ = write!(page, "\n{reason}\n");
    }
    page
}

/// Whether the row belongs in the picture: it has a rival, and its figures are times.
pub(crate) fn is_drawn(row: &Outcome) -> bool {
    let has_rival = row.contenders.iter().any(|entry| entry.kind != Kind::Ours);
    row.unit == Unit::Time && has_rival
}
