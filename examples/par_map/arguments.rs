//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

pub(crate) const USAGE: &str = "\
Black-Scholes call prices over a large buffer: sequential, rayon, gristmill.

Usage: cargo run --release --example par_map -- [OPTIONS]

Options:
  --elements N    price N generated f64 (default: 67108864, which is 512 MiB)
  --input FILE    price a NumPy array instead: .npy, f64 or f32, any shape, C order
  --output FILE   write the prices as a NumPy array of the same shape and type
  --workers N     worker processes, and threads of rayon (default: one a core)
  --kill          SIGKILL a worker in the middle: the prices must be right all the same
  --help          print this";

const DEFAULT_ELEMENTS: usize = 64 << 20;

#[derive(PartialEq, Debug)]
pub(crate) struct Arguments {
    pub(crate) elements: usize,
    pub(crate) input: Option<PathBuf>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) workers: Option<usize>,
    pub(crate) kill: bool,
}

#[derive(PartialEq, Debug)]
pub(crate) enum Parsed {
    Help,
    Run(Arguments),
}

#[derive(PartialEq, Debug, Error)]
pub(crate) enum ArgumentError {
    #[error("{0:?} is no option; --help lists them")]
    Unknown(OsString),
    #[error("{0} needs a value after it")]
    Missing(&'static str),
    #[error("{option} wants a whole number above 0, not {found:?}")]
    Number {
        option: &'static str,
        found: OsString,
    },
    #[error("--elements sizes a generated buffer; --input brings its own size: drop one")]
    Both,
}

pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, ArgumentError> {
    let mut words = words.into_iter();
    let mut elements = None;
    let mut arguments = Arguments {
        elements: DEFAULT_ELEMENTS,
        input: None,
        output: None,
        workers: None,
        kill: false,
    };
    while let Some(word) = words.next() {
        let mut value = |option| words.next().ok_or(ArgumentError::Missing(option));
        match word.to_str() {
            Some("--help" | "-h") => return Ok(Parsed::Help),
            Some("--kill") => arguments.kill = true,
            Some("--input") => arguments.input = Some(value("--input")?.into()),
            Some("--output") => arguments.output = Some(value("--output")?.into()),
            Some("--workers") => {
                arguments.workers = Some(number("--workers", value("--workers")?)?);
            }
            Some("--elements") => elements = Some(number("--elements", value("--elements")?)?),
            _ => return Err(ArgumentError::Unknown(word)),
        }
    }
    if elements.is_some() && arguments.input.is_some() {
        return Err(ArgumentError::Both);
    }
    arguments.elements = elements.unwrap_or(DEFAULT_ELEMENTS);
    Ok(Parsed::Run(arguments))
}

fn number(option: &'static str, found: OsString) -> Result<usize, ArgumentError> {
    match found.to_str().and_then(|text| text.parse().ok()) {
        Some(number) if number > 0 => Ok(number),
        _ => Err(ArgumentError::Number { option, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Parsed, ArgumentError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_option_is_understood() {
        let parsed = words("--elements 7 --output b.npy --workers 3 --kill");
        let expected = Arguments {
            elements: 7,
            input: None,
            output: Some("b.npy".into()),
            workers: Some(3),
            kill: true,
        };
        assert_eq!(parsed, Ok(Parsed::Run(expected)));
        assert_eq!(words("--kill --help"), Ok(Parsed::Help));
    }

    #[test]
    fn without_arguments_it_is_half_a_gibibyte() {
        let Ok(Parsed::Run(arguments)) = words("") else {
            panic!("no arguments are fine");
        };
        assert_eq!(arguments.elements * size_of::<f64>(), 512 << 20);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(
            words("--fast"),
            Err(ArgumentError::Unknown("--fast".into()))
        );
        assert_eq!(words("--input"), Err(ArgumentError::Missing("--input")));
        assert_eq!(words("--input a --elements 5"), Err(ArgumentError::Both));
        for found in ["0", "-1", "many", "1.5"] {
            let error = ArgumentError::Number {
                option: "--workers",
                found: found.into(),
            };
            assert_eq!(words(&format!("--workers {found}")), Err(error));
        }
    }
}
