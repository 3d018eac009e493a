//! The code on the front page compiles as it is shown, with the dependencies that are shown.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The texts of the blocks whose fence begins with `language`.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        open = match (open, line.strip_prefix("```")) {
            (None, None) => None,
            (None, Some(fence)) => Some((fence.split(',').next() == Some(language), String::new())),
            (Some((true, text)), Some(_)) => {
                blocks.push(text);
                None
            }
            (Some((false, _)), Some(_)) => None,
            (Some((is_wanted, text)), None) => Some((is_wanted, text + line + "\n")),
        };
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// A page shows a line that begins with `# ` where rustdoc would hide it.
fn hidden(block: &str) -> Option<&str> {
    block.lines().find(|line| line.trim_start() == "#" || line.trim_start().starts_with("# "))
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the page is there")
}

#[test]
fn the_blocks_are_told_from_the_text() {
    let page = "a\n```rust,no_run\nfn a() {}\n```\n```console\n$ b\n```\n```rust\n# use c;\n#[d]\n```\n";
    assert_eq!(blocks(page, "rust"), ["fn a() {}\n", "# use c;\n#[d]\n"]);
    assert_eq!(hidden(&blocks(page, "rust")[0]), None);
    assert_eq!(hidden(&blocks(page, "rust")[1]), Some("# use c;"));
}

#[test]
fn no_line_of_the_code_is_hidden() {
    for block in blocks(&page(), "rust") {
        assert_eq!(hidden(&block), None, "{block}");
    }
}

/// A crate with these dependencies and nothing else, with a program or a module for each block.
#[test]
fn the_code_compiles_as_it_is_shown() {
    let page = page();
    let [dependencies] = blocks(&page, "toml").try_into().expect("one block of dependencies");
    let blocks = blocks(&page, "rust");
    assert!(blocks.len() >= 3 && blocks.iter().any(|block| block.contains("fn main()")), "{blocks:?}");

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let source = folder.join("src");
    // Of an earlier run, with other blocks.
    let _ = fs::remove_dir_all(&source);
    fs::create_dir_all(source.join("bin")).expect("the folder can be made");
    let manifest = format!(
        "[package]\nname = \"readme\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         {dependencies}\n[patch.crates-io]\nonesocket.path = {root:?}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("it can be written");
    // The versions that this workspace is tested with, which are there.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file can be copied");
    let mut modules = String::from("#![allow(dead_code)]\n");
    for (number, block) in blocks.iter().enumerate() {
        let path = if block.contains("fn main()") {
            source.join(format!("bin/block_{number}.rs"))
        } else {
            writeln!(modules, "mod block_{number};").expect("a text can be written to");
            source.join(format!("block_{number}.rs"))
        };
        fs::write(path, block).expect("it can be written");
    }
    fs::write(source.join("lib.rs"), modules).expect("it can be written");

    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--all-targets"])
        .current_dir(&folder)
        // Beside the other builds, so that neither waits for the other.
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
