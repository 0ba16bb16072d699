//! Who may name whom: holds every `crate::…` path in `src/` against the table of modules in `docs/ARCHITECTURE.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules outside the pure core: they touch sockets, disks, clocks or threads.
const ADAPTERS: [&str; 9] = ["quic", "discovery", "index", "workers", "fs", "control", "identity", "mirror", "web"];

/// What a module may name; `None`: everything.
type Rules = BTreeMap<String, Option<BTreeSet<String>>>;

/// Reads the rows "| `module` | … | `a`, `b` |" of the table of modules.
fn rules(page: &str) -> Rules {
    let mut rules = Rules::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        let [module, _, names] = cells.as_slice() else { continue };
        let Some(module) = module.strip_prefix('`').and_then(|m| m.strip_suffix('`')) else { continue };
        let module = module.trim_end_matches(".rs").trim_end_matches('/');
        let names = match *names {
            "everything" => None,
            "nothing" => Some(BTreeSet::new()),
            list => Some(list.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect()),
        };
        assert!(rules.insert(module.to_owned(), names).is_none(), "{module} is in the table twice");
    }
    rules
}

/// The top-level modules that a source text names by `crate::…` (also in braces), comments and strings left out.
fn named_modules(source: &str) -> BTreeSet<String> {
    let code = strip(source);
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = code[at + "crate::".len()..].trim_start();
        match rest.strip_prefix('{') {
            None => named.extend(identifier(rest)),
            Some(group) => {
                let mut depth = 0usize;
                let mut expect = true;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => expect = true,
                        c if expect && !c.is_whitespace() => {
                            named.extend(identifier(&group[i..]));
                            expect = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    named
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// Takes comments and the contents of string literals away. Raw strings and character literals are rare enough in front
/// of a path that they are not understood.
fn strip(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        break;
                    }
                }
                out.push('\n');
            }
            '\'' if chars.peek() == Some(&'"') => out.push(' '),
            '"' => {
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => {
                            chars.next();
                        }
                        '"' => break,
                        _ => {}
                    }
                }
                out.push(' ');
            }
            _ => out.push(c),
        }
    }
    out
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The top-level module that a file beneath `src/` belongs to.
fn module_of(relative: &Path) -> String {
    let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// One line for every path that breaks the table.
fn breaches(rules: &Rules, module: &str, file: &str, source: &str) -> Vec<String> {
    let Some(allowed) = rules.get(module) else {
        return vec![format!("{file}: module `{module}` has no row in docs/ARCHITECTURE.md")];
    };
    let named = named_modules(source);
    let mut out = Vec::new();
    if let Some(allowed) = allowed {
        for name in &named {
            if name != module && !allowed.contains(name) {
                out.push(format!("{file}: `{module}` may not name `{name}`"));
            }
        }
    }
    let joins = named.contains("engine") && ADAPTERS.iter().any(|adapter| named.contains(*adapter));
    if joins && !matches!(module, "reactor" | "lib") {
        out.push(format!("{file}: only reactor.rs and lib.rs join the engine with an adapter"));
    }
    out
}

#[test]
fn every_module_names_only_what_the_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = rules(&std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap());
    for module in ["types", "proto", "engine", "reactor", "quic", "fs"] {
        assert!(rules.contains_key(module), "the table of modules was read: `{module}` is missing");
    }
    let src = root.join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 10, "the sources were found");
    let mut found = Vec::new();
    for path in files {
        let relative = path.strip_prefix(&src).unwrap();
        let source = std::fs::read_to_string(&path).unwrap();
        found.extend(breaches(&rules, &module_of(relative), &relative.display().to_string(), &source));
    }
    assert!(found.is_empty(), "the direction of dependencies is broken:\n{}", found.join("\n"));
}

#[test]
fn a_breach_is_seen_in_every_spelling() {
    let rules =
        rules("| `engine/` | x | `types`, `api` |\n| `reactor.rs` | x | everything |\n| `types.rs` | x | nothing |");
    let of = |module: &str, source: &str| breaches(&rules, module, "f.rs", source).len();
    assert_eq!(of("engine", "use crate::types::X;"), 0);
    assert_eq!(of("engine", "use crate::quic::Endpoint;"), 1);
    assert_eq!(of("engine", "fn f() { crate::fs::sync() }"), 1);
    assert_eq!(of("engine", "use crate::{types::{A, B}, fs::Dir};"), 1);
    assert_eq!(of("engine", "use crate::{\n    api::X,\n    workers,\n};"), 1);
    assert_eq!(of("engine", "// use crate::fs\nlet s = \"crate::fs\";"), 0);
    assert_eq!(of("types", "use crate::types::X; use crate::api::Y;"), 1);
    assert_eq!(of("reactor", "use crate::engine::E; use crate::quic::Q;"), 0);
    assert_eq!(of("unheard_of", ""), 1);
}

/// The parts of the engine, which tell each other what follows and call nobody.
const PARTS: [&str; 8] = ["peers", "library", "scans", "transfer", "mirrors", "operations", "commands", "refresh"];

/// The modules of the engine that a source text of it names.
fn named_in_engine(source: &str, is_its_file: bool) -> BTreeSet<String> {
    let code = strip(source);
    let mut roots = vec!["crate::engine::"];
    if is_its_file {
        roots.push("super::");
    }
    let after = |root: &'static str| {
        let code = &code;
        code.match_indices(root).filter_map(move |(at, _)| identifier(&code[at + root.len()..])).collect::<Vec<_>>()
    };
    roots.into_iter().flat_map(after).collect()
}

#[test]
fn the_parts_of_the_engine_do_not_know_each_other_nor_the_engine() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let mut files = Vec::new();
    rust_files(&engine, &mut files);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for path in files {
        let relative = path.strip_prefix(&engine).unwrap();
        let part = module_of(relative);
        let name = relative.display().to_string();
        let source = std::fs::read_to_string(&path).unwrap();
        let is_test = name.contains("tests") || part == "sim";
        if !is_test && source.contains("impl Engine") && name != "mod.rs" {
            found.push(format!("{name}: only mod.rs joins the parts"));
        }
        if is_test || !PARTS.contains(&part.as_str()) {
            continue;
        }
        seen.insert(part.clone());
        let is_its_file = relative.components().count() == 1 || name.ends_with("/mod.rs");
        for named in named_in_engine(&source, is_its_file) {
            if named == "Engine" || (named != part && PARTS.contains(&named.as_str())) {
                found.push(format!("{name}: `{part}` names `{named}`"));
            }
        }
    }
    assert_eq!(seen.len(), PARTS.len(), "the parts were found: {seen:?}");
    assert!(found.is_empty(), "what follows is told as an effect:\n{}", found.join("\n"));
    assert!(named_in_engine("use super::peers::Peers;", true).contains("peers"));
    assert!(named_in_engine("use crate::engine::Engine;", false).contains("Engine"));
}

#[test]
fn the_lints_that_replace_review_are_switched_on() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&text).unwrap();
    let level = |tool: &str, lint: &str| manifest["lints"][tool].get(lint).and_then(|v| v.as_str()).map(str::to_owned);
    for (tool, lint) in [
        ("rust", "missing_docs"),
        ("rust", "unreachable_pub"),
        ("clippy", "disallowed_methods"),
        ("clippy", "unwrap_used"),
        ("clippy", "expect_used"),
        ("clippy", "panic"),
    ] {
        let level = level(tool, lint);
        assert!(matches!(level.as_deref(), Some("warn" | "deny" | "forbid")), "{tool}::{lint} is {level:?}");
    }
}

/// Constants of one name and one value that are two facts all the same.
const NOT_ONE_FACT: [(&str, &str); 5] = [
    ("FORMAT", "each file format counts its own versions"),
    ("FORMAT_DIRS", "the same"),
    ("INDEX", "a library's and a mirror's"),
    ("BLOCK", "how much is read at a time, by a benchmark and by a decoder"),
    ("CHUNK", "the size of a chunk as a length of buffers"),
];

/// `const NAME: TYPE = VALUE;` at the beginning of a line, comments left out.
fn constants(source: &str) -> Vec<(String, String)> {
    let definition = |line: &str| {
        let at = line.find("const ").filter(|&at| at == 0 || line.starts_with("pub"))?;
        let (name, rest) = line[at + "const ".len()..].split_once(':')?;
        let (_, value) = rest.split_once(" = ")?;
        Some((name.to_owned(), value.trim_end().strip_suffix(';')?.to_owned()))
    };
    source.lines().filter_map(definition).collect()
}

#[test]
fn every_constant_has_one_definition() {
    assert_eq!(constants("pub(super) const A: u32 = 1 << 3;\n    const B: u8 = 1;\nconst C: &str = \"c\";\n").len(), 2);
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut definitions: BTreeMap<(String, String), Vec<PathBuf>> = BTreeMap::new();
    for path in files {
        let relative = path.strip_prefix(&src).unwrap().to_owned();
        let is_test =
            relative.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "sim")));
        if !is_test {
            for constant in constants(&std::fs::read_to_string(&path).unwrap()) {
                definitions.entry(constant).or_default().push(relative.clone());
            }
        }
    }
    assert!(definitions.len() > 200, "only {} constants were found", definitions.len());
    definitions.retain(|(name, _), files| files.len() > 1 && NOT_ONE_FACT.iter().all(|(other, _)| other != name));
    assert!(definitions.is_empty(), "one fact in several places: {definitions:#?}");
}

/// What asks for the platform outside the folders that are there for that, tests left out.
#[test]
fn platforms_differ_in_few_places() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut found = Vec::new();
    for path in files {
        let relative = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let is_meant_to = ["sys", "fs"]
            .iter()
            .any(|module| relative.strip_prefix(module).is_some_and(|rest| rest.starts_with(['/', '.'])));
        if is_meant_to || relative == "quic/socket.rs" || relative.contains("/tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let asks = |line: &&str| {
            line.contains("cfg") && ["unix", "windows", "target_os"].iter().any(|word| line.contains(word))
        };
        found.extend(code.lines().filter(asks).map(|line| format!("{relative}: {}", line.trim())));
    }
    assert!((1..=10).contains(&found.len()), "{} places: {found:#?}", found.len());
}
