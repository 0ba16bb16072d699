//! The pages against the code: every word of the control vocabulary is explained, every link leads somewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod source_support;

use std::path::{Path, PathBuf};

use lanspread_peer::api::commands::{COMMANDS, CommandSpec};
use regex_lite::Regex;
use source_support::{read, root, variants_in};

/// The fields of a command, with `?` behind those that may be missing.
fn fields_of(command: &CommandSpec) -> Vec<String> {
    command.fields.iter().map(|field| format!("{}{}", field.name, if field.optional { "?" } else { "" })).collect()
}

#[test]
fn every_command_is_in_the_table_with_its_fields_and_nothing_else_is() {
    let page = read("docs/CONTROL.md");
    let (_, table) = page.split_once("| `cmd` | fields |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut listed = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" |").collect();
        let words = |cell: &str| -> Vec<String> {
            let named = Regex::new("`([a-z_-]+)`(\\??)").unwrap();
            named.captures_iter(cell).map(|word| format!("{}{}", &word[1], &word[2])).collect()
        };
        listed.extend(words(cells[0]).into_iter().map(|name| (name, words(cells[1]))));
    }
    let mut commands: Vec<_> = COMMANDS.iter().map(|command| (command.name.to_owned(), fields_of(command))).collect();
    listed.sort();
    commands.sort();
    assert_eq!(listed, commands);
}

#[test]
fn every_event_and_code_is_explained() {
    let page = read("docs/CONTROL.md");
    for (file, name, least) in [("events", "PeerEvent", 14), ("errors", "ErrorCode", 20), ("records", "Operation", 2)] {
        let variants = variants_in(&format!("src/api/{file}.rs"), name);
        assert!(variants.len() >= least, "{name} was read: {variants:?}");
        for word in variants {
            assert!(page.contains(&format!("`{word}`")), "docs/CONTROL.md does not explain `{word}` of {name}");
        }
    }
    for name in ["DownloadState", "SourceState"] {
        for word in variants_in("src/api/explain.rs", name) {
            assert!(page.contains(&format!("`{word}`")), "docs/CONTROL.md does not explain `{word}` of {name}");
        }
    }
}

/// The fields of a struct of `src/api/records.rs`, with `?` behind those that may be missing.
fn fields(name: &str) -> Vec<String> {
    let source = read("src/api/records.rs");
    let (_, body) = source.split_once(&format!("pub struct {name} {{\n")).unwrap_or_else(|| panic!("struct {name}"));
    let (body, _) = body.split_once("\n}\n").unwrap();
    let mut mark = "";
    let mut fields = Vec::new();
    for line in body.lines() {
        if line.contains("skip_serializing_if") {
            mark = "?";
        } else if let Some((field, _)) = line.trim_start().strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
            fields.push(format!("{field}{mark}"));
            mark = "";
        }
    }
    fields
}

#[test]
fn every_field_of_a_row_is_named() {
    let page = read("docs/CONTROL.md");
    for (command, row, least) in [("list-peers", "PeerRow", 8), ("list-games", "GameRow", 10)] {
        let fields = fields(row);
        assert!(fields.len() >= least, "{row} was read: {fields:?}");
        let line = page.lines().find(|line| line.starts_with(&format!("| `{command}` |"))).unwrap();
        let (_, named) = line.split_once("s`: ").unwrap();
        let named: Vec<&str> = named.trim_end_matches([' ', '|']).split(", ").collect();
        assert_eq!(named, fields, "{row} of {command}");
    }
    for kind in variants_in("src/types/interface.rs", "InterfaceKind") {
        assert!(page.contains(&format!("`{kind}`")), "docs/CONTROL.md does not explain the interface `{kind}`");
    }
}

#[test]
fn every_metric_is_explained() {
    let source = read("src/control/metrics.rs");
    let (code, _) = source.split_once("#[cfg(test)]").unwrap();
    let names: Vec<&str> = code.split('"').filter(|text| text.starts_with("lanspread_")).collect();
    assert!(names.len() > 30, "the names were read: {names:?}");
    let page = read("docs/CONTROL.md");
    let explained = |name: &str| page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}{{"));
    for name in &names {
        assert!(explained(name), "docs/CONTROL.md does not explain `{name}`");
    }
    for cause in variants_in("src/api/metrics.rs", "StallCause") {
        assert!(page.contains(&format!("`{cause}`")), "docs/CONTROL.md does not explain the stall `{cause}`");
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut pages: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(PathBuf::from).into();
    for dir in ["docs", "docs/decisions"] {
        let entries = std::fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    let mut links = 0;
    for page in pages {
        let path = root().join(&page);
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{} links to {target}", path.display());
            if !anchor.is_empty() {
                let known = read(&file).lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
                assert!(known, "{} links to {target}, but there is no such heading", path.display());
            }
            links += 1;
        }
    }
    assert!(links > 15, "{links} links were found");
}

/// The anchor that is made of a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Every file beneath `dir`, by its path from the root.
fn files_beneath(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(root().join(dir)).unwrap() {
        let path = dir.join(entry.unwrap().file_name());
        if root().join(&path).is_dir() { files_beneath(&path, found) } else { found.push(path.display().to_string()) }
    }
}

#[test]
fn every_file_on_the_way_of_a_chunk_is_there() {
    let mut files = Vec::new();
    files_beneath(Path::new("src"), &mut files);
    let page = read("docs/LIFE_OF_A_CHUNK.md");
    let named: Vec<&str> = page.split('`').filter(|word| word.ends_with(".rs") && !word.contains(' ')).collect();
    assert!(named.len() > 40, "{}", named.len());
    for name in named {
        assert!(files.iter().any(|file| file.ends_with(&format!("/{name}"))), "docs/LIFE_OF_A_CHUNK.md names {name}");
    }
}

#[test]
fn whoever_uninstalls_with_everything_knows_every_file_of_the_state_directory() {
    let (page, installer) = (read("docs/STORAGE.md"), read("scripts/windows/installer.nsi"));
    let files: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("<state_dir>/")?.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let line = format!("Delete \"${{STATE}}\\{file}\"");
        assert!(installer.contains(&line), "scripts/windows/installer.nsi does not say {line}");
    }
}

#[test]
fn the_files_that_pages_for_contributors_name_are_there() {
    for (page, least) in [("SECURITY.md", 12), ("CONTRIBUTING.md", 20)] {
        let text = read(page);
        let is_file = |word: &&str| ["tests/", "src/", "docs/", "scripts/"].iter().any(|start| word.starts_with(start));
        let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(is_file).collect();
        assert!(named.len() >= least, "{page}: {named:?}");
        for file in named {
            assert!(root().join(file).exists(), "{page} names {file}");
        }
    }
}
