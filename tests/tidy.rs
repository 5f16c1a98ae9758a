//! The tree is tidy because this test says so.
//!
//! It reads the sources as text and needs nothing but the standard library. Every rule is tried on
//! samples first, bad ones that it must catch and good ones that it must not, so that a rule that
//! has gone blind fails here too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file, by its path from the root of the repository.
struct Source {
    path: String,
    text: String,
}

/// Room to floor, as listed in `src/lib.rs`.
type Floors = BTreeMap<String, u32>;

struct Rule {
    name: &'static str,
    applies: fn(&str) -> bool,
    /// Reports faults with the line, from 1 on, that each is in.
    check: fn(&Floors, &Source) -> Vec<(usize, String)>,
    bad: &'static [(&'static str, &'static str)],
    good: &'static [(&'static str, &'static str)],
}

struct Exception {
    rule: &'static str,
    path: &'static str,
    reason: &'static str,
}

/// Departures that were thought about. One that nothing needs any more is a fault as well.
const EXCEPTIONS: &[Exception] = &[];

const MAX_LINES: usize = 500;
const MAX_COLUMNS: usize = 100;

const RULES: &[Rule] = &[
    Rule {
        name: "imports point down",
        applies: is_product,
        check: |floors, source| {
            let Some(room) = room_of(&source.path) else {
                return Vec::new();
            };
            let Some(&floor) = floors.get(room) else {
                return vec![(1, format!("room `{room}` is on no floor in src/lib.rs"))];
            };
            let judge = |(line, name): (usize, String)| {
                let fault = match floors.get(&name) {
                    None => format!("`crate::{name}`: name the room that it is from"),
                    Some(_) if name == room => return None,
                    Some(&below) if below < floor => return None,
                    Some(&other) if other == floor => {
                        format!("`{room}` and `{name}` share a floor and are strangers")
                    }
                    Some(_) => format!("`{room}` imports `{name}` from a floor above"),
                };
                Some((line, fault))
            };
            imports(&source.text)
                .into_iter()
                .filter_map(judge)
                .collect()
        },
        bad: &[
            ("src/low/mod.rs", "use crate::high::Thing;"),
            ("src/high/a/b.rs", "    let x = f(crate::stranger::Thing);"),
            (
                "src/low/mod.rs",
                "use crate::{\n    low::{x, y},\n    high::{self, z},\n};",
            ),
            ("src/high/mod.rs", "use crate::Error;"),
            ("src/nowhere/mod.rs", ""),
        ],
        good: &[
            (
                "src/high/mod.rs",
                "use crate::low::Thing; use crate::high::a; // crate::stranger",
            ),
            (
                "src/high/mod.rs",
                "use crate::{\n    low::{stranger, low},\n    high,\n};",
            ),
            ("src/lib.rs", "use crate::high::Thing;"),
        ],
    },
    Rule {
        name: "a file opens with what it is",
        applies: is_rust,
        check: |_, source| match source.text.starts_with("//! ") {
            true => Vec::new(),
            false => vec![(1, "the first line is no `//!` sentence".into())],
        },
        bad: &[("src/low/mod.rs", "use a::b;"), ("src/low/mod.rs", "")],
        good: &[("src/low/mod.rs", "//! What it is.\n")],
    },
    Rule {
        name: "a file is short",
        applies: is_rust,
        check: |_, source| match source.text.lines().count() {
            lines if lines > MAX_LINES => vec![(lines, format!("more than {MAX_LINES} lines"))],
            _ => Vec::new(),
        },
        bad: &[("src/low/mod.rs", LONG)],
        good: &[("src/low/mod.rs", "one\ntwo\n")],
    },
    Rule {
        name: "a line is short",
        applies: is_rust,
        check: |_, source| {
            each_line(&source.text, |line| {
                let columns = line.chars().count();
                (columns > MAX_COLUMNS).then(|| format!("{columns} columns"))
            })
        },
        bad: &[("src/low/mod.rs", WIDE)],
        good: &[("src/low/mod.rs", "fn short() {}")],
    },
    Rule {
        name: "no leftovers",
        applies: is_text,
        check: |_, source| find_words(source, LEFTOVERS),
        bad: &[
            ("src/a.rs", concat!("// TO", "DO: later")),
            ("README.md", concat!("FIX", "ME")),
            ("src/a.rs", concat!("    dbg", "!(x);")),
            ("src/a.rs", concat!("fn f() { to", "do!() }")),
        ],
        good: &[("src/a.rs", "fn to_do() { method(); }")],
    },
    Rule {
        name: "one door to the atomics",
        applies: |path| is_product(path) && !path.starts_with("src/primitive/"),
        check: |_, source| find(source, &["sync::atomic", "sync::{atomic"]),
        bad: &[
            ("src/low/a.rs", "use core::sync::atomic::AtomicU64;"),
            ("src/low/a.rs", "use std::sync::{atomic::AtomicU8, Arc};"),
        ],
        good: &[
            ("src/low/a.rs", "use crate::primitive::atomic::AtomicU64;"),
            (
                "src/low/a.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\n use std::sync::atomic::X;\n}",
            ),
        ],
    },
    Rule {
        name: "one door to the kernel",
        applies: |path| is_product(path) && !path.starts_with("src/sys/"),
        check: |_, source| {
            // An error number is a value, not a call.
            find(source, &["libc::", "nix::"])
                .into_iter()
                .filter(|&(line, _)| !nth_line(&source.text, line).contains("nix::errno::"))
                .collect()
        },
        bad: &[
            ("src/low/a.rs", "unsafe { libc::mmap() }"),
            ("src/low/a.rs", "use nix::sys::mman::mmap;"),
        ],
        good: &[
            ("src/low/a.rs", "use nix::errno::Errno;\n// see libc::mmap"),
            ("src/low/a.rs", "use std::os::unix::fs::MetadataExt;"),
            (
                "src/low/a.rs",
                "#[cfg(test)]\nmod tests {\n    use nix::unistd::fork;\n}",
            ),
        ],
    },
    Rule {
        name: "one door to rkyv's machinery",
        applies: |path| is_product(path) && !path.starts_with("src/protocol/archive"),
        check: |_, source| {
            let machinery = [
                "ser::",
                "de::",
                "api::",
                "validation::",
                "rancor",
                "bytecheck",
            ];
            find(
                source,
                &machinery
                    .map(|part| format!("rkyv::{part}"))
                    .each_ref()
                    .map(|s| &**s),
            )
        },
        bad: &[("src/low/a.rs", "use rkyv::ser::Serializer;")],
        good: &[("src/low/a.rs", "#[derive(rkyv::Archive, rkyv::Serialize)]")],
    },
    Rule {
        name: "no path of one machine",
        applies: is_text,
        check: |_, source| {
            each_line(&source.text, |line| {
                let starts_path = |at: usize| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/}".contains(c))
                };
                let mut hits = MACHINE_PATHS
                    .iter()
                    .flat_map(|path| line.match_indices(path));
                hits.find(|&(at, _)| starts_path(at))
                    .map(|(_, path)| format!("`{path}`"))
            })
        },
        bad: &[
            ("src/a.rs", concat!("let x = \"/ho", "me/me/x\";")),
            ("docs/a.md", concat!("see /tm", "p/x")),
        ],
        good: &[(
            "docs/a.md",
            concat!("https://example.org/wo", "rk/x and /proc/self/exe"),
        )],
    },
];

const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("dbg", "!"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];

const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/"),
];

const LONG: &str = as_text(&[b'\n'; MAX_LINES + 1]);
const WIDE: &str = as_text(&[b'x'; MAX_COLUMNS + 1]);

const fn as_text(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!(),
    }
}

#[test]
fn rules_catch_what_they_are_for() {
    let floors = Floors::from([
        ("low".into(), 1),
        ("high".into(), 2),
        ("stranger".into(), 2),
    ]);
    for rule in RULES {
        let faults = |&(path, text): &(&str, &str)| {
            let source = Source {
                path: path.into(),
                text: text.into(),
            };
            (rule.applies)(path) && !(rule.check)(&floors, &source).is_empty()
        };
        for sample in rule.bad {
            assert!(faults(sample), "`{}` is blind to {sample:?}", rule.name);
        }
        for sample in rule.good {
            assert!(
                !faults(sample),
                "`{}` sees a fault in {sample:?}",
                rule.name
            );
        }
    }
}

#[test]
fn the_tree_is_tidy() {
    let sources = sources();
    let floors = floors(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    assert!(
        floors.len() >= 10 && sources.len() >= 20,
        "the test looks in the wrong place"
    );

    let mut faults = Vec::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    for rule in RULES {
        for source in sources.iter().filter(|source| (rule.applies)(&source.path)) {
            for (line, what) in (rule.check)(&floors, source) {
                let is_this = |e: &Exception| e.rule == rule.name && e.path == source.path;
                match EXCEPTIONS.iter().position(is_this) {
                    Some(index) => used[index] = true,
                    None => faults.push(format!("{}:{line}: {}: {what}", source.path, rule.name)),
                }
            }
        }
    }
    for (exception, used) in EXCEPTIONS.iter().zip(used) {
        let Exception { rule, path, reason } = exception;
        if !used {
            faults.push(format!(
                "{path}: needs no exception from `{rule}` any more ({reason})"
            ));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_room_is_on_a_floor_and_every_floor_has_its_rooms() {
    let floors = floors(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let entries = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    for name in entries
        .map(|name| name.into_string().unwrap())
        .filter(|name| name != "lib.rs")
    {
        let room = name.trim_end_matches(".rs");
        assert!(
            floors.contains_key(room),
            "src/{name} is on no floor in src/lib.rs"
        );
    }
    for floor in 0..=floors.values().copied().max().unwrap() {
        assert!(
            floors.values().any(|&f| f == floor),
            "floor {floor} has no room"
        );
    }
}

/// Reads `// F2: what it is for` and the `mod` lines that follow.
fn floors(lib: &str) -> Floors {
    let mut floors = Floors::new();
    let mut floor = None;
    for line in lib.lines() {
        if let Some(rest) = line.strip_prefix("// F") {
            floor = rest
                .split_once(':')
                .and_then(|(number, _)| number.parse().ok());
        }
        let module = line.trim_start_matches("pub ").strip_prefix("mod ");
        if let (Some(floor), Some(name)) = (floor, module.and_then(|rest| rest.strip_suffix(';'))) {
            floors.insert(name.into(), floor);
        }
    }
    floors
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = vec![root().into()];
    while let Some(path) = left.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let relative = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            let foreign = ["target", ".git", "corpus", "artifacts"].contains(&&*name);
            if !foreign || relative.is_empty() {
                left.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
        } else if is_text(&relative) {
            found.push(Source {
                text: fs::read_to_string(&path).unwrap(),
                path: relative,
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_text(path: &str) -> bool {
    [".rs", ".md", ".toml"]
        .iter()
        .any(|ending| path.ends_with(ending))
        || path.starts_with(".ci/")
}

/// What is compiled into the product: tests and models may look around more freely.
fn is_product(path: &str) -> bool {
    let stem = path
        .strip_suffix(".rs")
        .and_then(|path| path.rsplit('/').next());
    let is_test = |stem: &str| {
        let last = stem.rsplit('_').next().unwrap_or_default();
        ["test", "tests", "model", "models"].contains(&last)
    };
    path.starts_with("src/") && !path.contains("/tests/") && stem.is_some_and(|stem| !is_test(stem))
}

/// `src/room/..` or `src/room.rs`.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

/// The rooms named by `crate::room` and by `crate::{room::.., room}`, with their lines.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = text.lines().map(without_comment).collect();
    let code = code.join("\n");
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let start = at + prefix.len();
        if !code[start..].starts_with('{') {
            found.push((line_of(at), identifier(&code[start..]).to_owned()));
            continue;
        }
        let mut depth = 0;
        for (offset, c) in code[start..].char_indices() {
            let at = start + offset;
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            // A name at depth 1 that follows the brace or a comma.
            let before = code[start..at].trim_end();
            let begins = depth == 1 && (before.ends_with('{') || before.ends_with(','));
            if begins && c.is_alphabetic() {
                found.push((line_of(at), identifier(&code[at..]).to_owned()));
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn identifier(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

fn nth_line(text: &str, line: usize) -> &str {
    text.lines().nth(line - 1).unwrap_or_default()
}

fn each_line(text: &str, fault: impl Fn(&str) -> Option<String>) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(index, line)| Some((index + 1, fault(line)?)))
        .collect()
}

/// Paths like `nix::` in code, before the tests at the end of the file.
fn find(source: &Source, needles: &[&str]) -> Vec<(usize, String)> {
    let product = source
        .text
        .split("\nmod tests {")
        .next()
        .unwrap_or_default();
    each_line(product, |line| {
        let code = without_comment(line);
        let starts = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let hit = |needle: &&&str| code.match_indices(**needle).any(|(at, _)| starts(at));
        needles.iter().find(hit).map(|needle| format!("`{needle}`"))
    })
}

/// Whole words, anywhere.
fn find_words(source: &Source, words: &[&str]) -> Vec<(usize, String)> {
    each_line(&source.text, |line| {
        let is_whole = |at: usize, word: &str| {
            let part = |c: char| c.is_alphanumeric() || c == '_';
            !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part)
        };
        let hit = |word: &&&str| {
            line.match_indices(**word)
                .any(|(at, word)| is_whole(at, word))
        };
        words.iter().find(hit).map(|word| format!("`{word}`"))
    })
}
