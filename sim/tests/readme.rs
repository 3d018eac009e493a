//! The page about the model names tests; they exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all test functions of the workspace's integration tests.
fn tests(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                    found.extend(rest.split_once('(').map(|(name, _)| name.to_owned()));
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn every_fact_names_a_test_that_exists() {
    let sim = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut existing = BTreeSet::new();
    tests(&sim.join("tests"), &mut existing);
    tests(&sim.join("gateway/tests"), &mut existing);
    tests(&sim.join("../tests"), &mut existing);

    let page = fs::read_to_string(sim.join("README.md")).expect("the page is there");
    let (_, facts) = page.split_once("## What implementers get wrong").expect("the section is there");
    let rows: Vec<&str> =
        facts.lines().filter(|line| line.starts_with("| ") && !line.contains("| test |")).collect();
    assert!(rows.len() >= 25, "only {} facts", rows.len());
    for row in rows {
        let test = row.rsplit('`').nth(1).expect("a fact names its test");
        assert!(existing.contains(test), "there is no test {test}");
    }
}

/// What the page says about the words is what the words are.
#[test]
fn every_word_is_on_the_page() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("it is there");
    for line in onesocket_sim::standin::command::help().lines() {
        let word = line.split_whitespace().next().expect("a word");
        assert!(matches!(word, "help" | "quit") || page.contains(&format!("`{word}`")), "{word} is missing");
    }
}
