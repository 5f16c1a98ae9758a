//! Why a row falls short of what was aimed at: the best that was seen, where the time goes, and
//! what would have to change.

/// A section a row or a group of rows; their names, or beginnings of them, are its heading.
const REASONS: &str = include_str!("../../reasons.md");

/// What is known of the row, if anything was written.
pub(crate) fn reason(row: &str) -> Option<&'static str> {
    sections().find_map(|(names, text)| {
        let mut names = names.split([',', ' ']).filter(|name| !name.is_empty());
        names.any(|name| row.starts_with(name)).then_some(text)
    })
}

/// Headings and what stands below them.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = REASONS.split("\n## ").skip(1);
    sections.filter_map(|section| {
        let (names, text) = section.split_once('\n')?;
        Some((names, text.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::{reason, sections};

    #[test]
    fn each_section_belongs_to_a_row_and_says_something() {
        let rows = crate::work::rows(true);
        for (names, text) in sections() {
            assert!(text.len() > 100, "{names} says nothing");
            for name in names.split([',', ' ']).filter(|name| !name.is_empty()) {
                assert!(
                    rows.iter().any(|(row, _)| row.starts_with(name)),
                    "no row is called {name}"
                );
            }
        }
    }

    #[test]
    fn a_row_has_the_first_section_that_names_it() {
        let first = sections().next().map(|(names, text)| {
            let name = names.split([',', ' ']).next().unwrap_or_default();
            (reason(name), Some(text))
        });
        assert!(first.is_some_and(|(found, text)| found == text));
        assert_eq!(reason("no such row"), None);
    }
}
