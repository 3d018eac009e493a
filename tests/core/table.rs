//! The table beside this file names tests. Here it is seen to name tests that exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The names of all test functions, by the file or the test binary they are in.
fn tests() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in ["", "core", "network", "sharing", "tls", "upgrade"].map(|name| root.join(name)) {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let file = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
                let functions = text.split("fn ").skip(1);
                let name = |rest: &str| rest.split('(').next().unwrap_or_default().to_owned();
                names.entry(file).or_default().extend(functions.map(name));
            }
        }
    }
    names
}

/// Whether `name` is what `pattern` means; `…` and `*` stand for anything.
fn means(pattern: &str, name: &str) -> bool {
    let pieces: Vec<&str> = pattern.split(['…', '*']).collect();
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return false };
    let mut rest = name;
    for piece in &pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    name.starts_with(first) && name.ends_with(last)
}

/// What the table names that is not a test.
fn missing(table: &str, tests: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut missing = Vec::new();
    for row in table.lines().filter(|line| line.starts_with('|')) {
        let mut file = None;
        for quoted in row.split('`').skip(1).step_by(2) {
            // A name alone, like a type's, is not a test; one that begins in the middle is of the file before.
            let (path, test) = match quoted.rsplit_once("::") {
                Some((path, test)) => (path.rsplit("::").next(), test),
                None if quoted.starts_with('…') => (file, quoted),
                None => continue,
            };
            if path.is_some_and(|path| path.starts_with(char::is_uppercase)) {
                continue;
            }
            file = path;
            let names = file.and_then(|file| tests.get(file));
            if !names.is_some_and(|names| names.iter().any(|name| means(test, name))) {
                missing.push(quoted.to_owned());
            }
        }
    }
    missing
}

#[test]
fn the_table_names_tests_that_exist() {
    let table = include_str!("README.md");
    assert_eq!(missing(table, &tests()), Vec::<String>::new());
    let named = table.matches("::").count();
    assert!(named > 80, "only {named} names were found");
}

#[test]
fn a_test_that_does_not_exist_is_missed() {
    let tests = tests();
    for (row, expected) in [
        ("| x | `table::the_table_names_*`, `…_is_missed` |", None),
        ("| x | `GatewayError::details`, `Options` |", None),
        ("| x | `table::no_such_test` |", Some("table::no_such_test")),
        ("| x | `table::a_test_*_exists` |", Some("table::a_test_*_exists")),
        ("| x | `nowhere::*` |", Some("nowhere::*")),
        ("| x | `table::*`, `…_nothing` |", Some("…_nothing")),
    ] {
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(missing(row, &tests), expected, "{row}");
    }
}
