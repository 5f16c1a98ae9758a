//! The table.

use std::fmt;
use std::time::Duration;

use crate::element::Element;

/// Times of one run; the first row is what the others are compared with.
pub(crate) struct Table {
    title: String,
    elements: usize,
    /// Read and written.
    bytes: usize,
    rows: Vec<(String, Duration)>,
}

impl Table {
    pub(crate) fn new<T: Element>(elements: usize, shape: &[u64]) -> Self {
        let shape = shape
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(" x ");
        let mebibytes = (elements * size_of::<T>()) as f64 / f64::from(1 << 20);
        Self {
            title: format!(
                "Black-Scholes calls, {} [{shape}], {mebibytes:.1} MiB in",
                T::NAME
            ),
            elements,
            bytes: 2 * elements * size_of::<T>(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, name: &str, elapsed: Duration) {
        self.rows.push((name.to_owned(), elapsed));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        let heads = ["time", "GB/s", "M elements/s", "ratio"];
        writeln!(
            out,
            "{:<28}{:>12}{:>9}{:>15}{:>9}",
            "", heads[0], heads[1], heads[2], heads[3]
        )?;
        let first = self
            .rows
            .first()
            .map_or(0.0, |(_, elapsed)| elapsed.as_secs_f64());
        for (name, elapsed) in &self.rows {
            // An empty array takes no time; a rate needs some.
            let seconds = elapsed.as_secs_f64().max(1e-9);
            writeln!(
                out,
                "{name:<28}{:>9.1} ms{:>9.2}{:>15.1}{:>8.2}x",
                seconds * 1e3,
                self.bytes as f64 / seconds / 1e9,
                self.elements as f64 / seconds / 1e6,
                first / seconds,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_both_directions() {
        let mut table = Table::new::<f64>(1_000_000, &[1000, 1000]);
        table.row("one", Duration::from_millis(20));
        table.row("two", Duration::from_millis(10));
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "Black-Scholes calls, f64 [1000 x 1000], 7.6 MiB in"
        );
        let cells = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            cells(lines[2]),
            ["one", "20.0", "ms", "0.80", "50.0", "1.00x"]
        );
        assert_eq!(
            cells(lines[3]),
            ["two", "10.0", "ms", "1.60", "100.0", "2.00x"]
        );
    }
}
