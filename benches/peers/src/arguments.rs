//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::hold::Bounds;

pub(crate) const HELP: &str = "\
Runs gristmill beside its peers and prints a table.

  cargo run --release -p gristmill-peers -- [OPTIONS] [PREFIX...]

  PREFIX...        rows whose names begin so: `a`, `f/awaited`, `g/hot/64`; default: all
  --list           names the rows
  --rounds N       rounds of a row at most (15)
  --seconds N      after so many seconds no new round of a row begins (10)
  --total N        the rows share this many seconds, if there are many (900)
  --only TEXT      contenders whose names contain this, besides the first of each row
  --smoke          tiny sizes, two rounds: does everybody run, is every answer right
  --no-python      without the Python peers
  --record [DIR]   writes DATE.json, .md and two .svg (in benches/record); rows
                   that were recorded the same day and are not in this run stay
  --redraw FILE    writes a record's pages and pictures again, from its .json
  --help

The exit code is 1 if an answer is wrong; a missed aim is only shown.
";

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) prefixes: Vec<String>,
    pub(crate) list: bool,
    pub(crate) help: bool,
    pub(crate) bounds: Bounds,
    /// What all rows together may take, but for three rounds each.
    pub(crate) total: Duration,
    pub(crate) only: Option<String>,
    pub(crate) smoke: bool,
    pub(crate) python: bool,
    pub(crate) record: Option<PathBuf>,
    pub(crate) redraw: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut words = words.into_iter().peekable();
        let mut arguments = Self {
            prefixes: Vec::new(),
            list: false,
            help: false,
            bounds: Bounds {
                rounds: 15,
                time: Duration::from_secs(10),
            },
            total: Duration::from_secs(900),
            only: None,
            smoke: false,
            python: true,
            record: None,
            redraw: None,
        };
        while let Some(word) = words.next() {
            let mut number = || {
                let found = words.next().and_then(|word| word.parse::<u32>().ok());
                found.filter(|&number| number > 0)
            };
            let wanted = || format!("{word} wants a number above zero");
            match &*word {
                "--list" => arguments.list = true,
                "--help" | "-h" => arguments.help = true,
                "--rounds" => arguments.bounds.rounds = number().ok_or_else(wanted)? as usize,
                "--seconds" => {
                    let seconds = number().ok_or_else(wanted)?;
                    arguments.bounds.time = Duration::from_secs(seconds.into());
                }
                "--total" => {
                    let seconds = number().ok_or_else(wanted)?;
                    arguments.total = Duration::from_secs(seconds.into());
                }
                "--only" => arguments.only = words.next(),
                "--smoke" => {
                    arguments.smoke = true;
                    arguments.bounds.rounds = 2;
                    arguments.bounds.time = Duration::ZERO;
                }
                "--no-python" => arguments.python = false,
                "--record" => {
                    let place = words.next_if(|word| word.contains('/') || word == ".");
                    arguments.record = Some(place.map_or_else(home, PathBuf::from));
                }
                "--redraw" => {
                    let file = words.next().ok_or("--redraw wants a file")?;
                    arguments.redraw = Some(file.into());
                }
                flag if flag.starts_with('-') => return Err(format!("no option {flag}")),
                _ => arguments.prefixes.push(word),
            }
        }
        Ok(arguments)
    }

    /// Whether the row of this name is asked for.
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.prefixes.is_empty()
            || self
                .prefixes
                .iter()
                .any(|prefix| row.starts_with(&**prefix))
    }
}

/// `benches/record`, beside this package.
fn home() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../record"))
}
