//! Each row of docs/coming-from-python.md names what shows it, and that is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources that a test named `file::test` may be in; of the crate's own, `room::file::test`.
fn sources(file: &str) -> Vec<String> {
    let tests = root().join("tests");
    let mut paths = vec![
        tests.join(format!("{file}.rs")),
        tests.join(format!("python/{file}.rs")),
        root().join(format!("src/{}.rs", file.replace("::", "/"))),
    ];
    let folder = fs::read_dir(tests.join(file))
        .into_iter()
        .flatten()
        .flatten();
    paths.extend(folder.map(|entry| entry.path()));
    let texts = paths
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    texts.collect()
}

/// Whether it is a test `file::test`, a path of a file, or a doc-test of such a file.
fn is_there(name: &str) -> bool {
    if let Some((file, test)) = name.rsplit_once("::") {
        let head = format!("fn {test}(");
        return sources(file).iter().any(|text| text.contains(&head));
    }
    root().join(name).is_file()
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    // A bar that belongs to a cell is behind a backslash.
    let mut ends: Vec<usize> = inner.match_indices('|').map(|(at, _)| at).collect();
    ends.retain(|&at| !inner[..at].ends_with('\\'));
    ends.push(inner.len());
    let mut begin = 0;
    let cells = ends.into_iter().map(|end| {
        let cell = inner[begin..end].trim();
        begin = end + 1;
        cell
    });
    Some(cells.collect())
}

fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let mut columns = None;
    for line in text.lines() {
        if line.starts_with("|---") {
            continue;
        }
        let Some(cells) = cells(line) else {
            columns = None;
            continue;
        };
        let Some(count) = columns else {
            columns = Some(cells.len());
            if cells.last() != Some(&"shown by") {
                faults.push(format!("a table without a last column `shown by`: {line}"));
            }
            continue;
        };
        if cells.len() != count {
            faults.push(format!("{} cells instead of {count}: {line}", cells.len()));
            continue;
        }
        if !seen.insert(cells[0].to_owned()) {
            faults.push(format!("twice: {}", cells[0]));
        }
        let names: Vec<&str> = cells[count - 1].split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            faults.push(format!("nothing shows it: {line}"));
        }
        for name in names {
            if !is_there(name) {
                faults.push(format!(
                    "there is no `{name}`, which is to show: {}",
                    cells[0]
                ));
            }
        }
    }
    faults
}

#[test]
fn each_row_names_a_test_that_is_there() {
    let text = fs::read_to_string(root().join("docs/coming-from-python.md")).expect("the table");
    let faults = faults(&text);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(text.lines().filter(|line| line.starts_with("| ")).count() > 60);
}

#[test]
fn a_row_without_a_test_is_noticed() {
    let table = |row: &str| format!("| there | here | shown by |\n|---|---|---|\n{row}\n");
    let good = "| a | b \\| c | `rows::a_row_without_a_test_is_noticed`, `src/lib.rs` |";
    assert_eq!(faults(&table(good)), Vec::<String>::new());
    for bad in [
        "| a | b | |",
        "| a | b |  |",
        "| a | b | somehow |",
        "| a | b | `rows::no_such_test` |",
        "| a | b | `no_such_file::test` |",
        "| a | b | `src/nothing.rs` |",
        "| a | b |",
    ] {
        assert_eq!(faults(&table(bad)).len(), 1, "{bad}");
    }
    assert_eq!(faults(&table(&format!("{good}\n{good}"))).len(), 1);
    assert_eq!(faults("| there | here |\n|---|---|\n").len(), 1);
}
