//! The page on reliability says nothing without a test that shows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../src/reliability.rs");

#[test]
fn every_statement_names_tests_and_all_of_them_exist() {
    let sources = sources();
    let statements = statements();
    assert!(statements.len() > 40, "the page has been read: {}", statements.len());
    for statement in statements {
        let names = names(&statement);
        assert!(!names.is_empty(), "no test is named: {statement}");
        for name in names {
            assert!(exists(&sources, name), "there is no test {name}");
            let said = name.starts_with("campaign::");
            assert!(said || !is_ignored(&sources, name), "{name} is not run by scripts/test");
        }
    }
}

#[test]
fn every_window_that_the_tests_have_is_on_the_page() {
    let numbers: BTreeSet<String> = sources()
        .iter()
        .flat_map(|(_, text)| text.split("fn w"))
        .filter_map(|name| name.split_once('_'))
        .filter(|(number, _)| number.len() == 2 && number.parse::<u8>().is_ok())
        .map(|(number, _)| format!("**W{},", number.trim_start_matches('0')))
        .collect();
    assert!(numbers.len() > 20, "the tests have been read: {numbers:?}");
    for number in numbers {
        assert!(PAGE.contains(&number), "{number} is not on the page");
    }
}

/// The items of the lists on the page, each on one line.
fn statements() -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    for line in PAGE.lines().filter_map(|line| line.strip_prefix("//! ")) {
        match (line.strip_prefix("- "), line.strip_prefix("  "), statements.last_mut()) {
            (Some(start), _, _) => statements.push(start.to_owned()),
            (None, Some(more), Some(statement)) => *statement += &format!(" {more}"),
            _ => {}
        }
    }
    statements
}

/// What stands in backticks in the parenthesis at a statement's end.
fn names(statement: &str) -> Vec<&str> {
    let Some((_, list)) = statement.rsplit_once(" (") else { return Vec::new() };
    let Some(list) = list.strip_suffix(')') else { return Vec::new() };
    list.split(", ")
        .filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'))
        .filter(|name| name.contains("::"))
        .collect()
}

/// Whether a file of the last module in the name has a function, or a case of a table, of that name.
fn exists(sources: &[(PathBuf, String)], name: &str) -> bool {
    let mut parts = name.rsplit("::");
    let (function, module) = (parts.next().unwrap_or(name), parts.next().unwrap_or(name));
    sources.iter().any(|(path, text)| {
        path.iter()
            .any(|part| part == module || Path::new(part).file_stem() == Some(module.as_ref()))
            && [format!("fn {function}("), format!("{function}:"), format!("{function} ")]
                .iter()
                .any(|written| text.contains(written))
    })
}

/// Whether it runs only when it is asked for.
fn is_ignored(sources: &[(PathBuf, String)], name: &str) -> bool {
    let function = name.rsplit("::").next().unwrap_or(name);
    sources.iter().any(|(_, text)| {
        let before = text.split_once(&format!("fn {function}(")).map_or("", |(before, _)| before);
        let attributes = before.rsplit("\n\n").next().unwrap_or(before);
        attributes.contains("#[ignore")
    })
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("tests"), root.join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                sources.push((path, text));
            }
        }
    }
    sources
}
