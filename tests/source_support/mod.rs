//! Reading the project's own files, to hold pages against the code.

use std::path::{Path, PathBuf};

/// Where the project lies.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path.as_ref())).unwrap_or_else(|error| panic!("{:?}: {error}", path.as_ref()))
}

/// The variants of an enum, in kebab-case as they are on the wire. One that stands for the words of later versions is never said.
pub(crate) fn variants_in(file: &str, name: &str) -> Vec<String> {
    let source = read(file);
    let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).unwrap_or_else(|| panic!("enum {name}"));
    let (body, _) = body.split_once("\n}\n").unwrap();
    let (body, _) = body.split_once("#[serde(other)]").unwrap_or((body, ""));
    let names =
        body.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| line.starts_with(char::is_uppercase));
    names.map(|line| kebab(line.trim_end_matches(['{', ',', ' ']))).collect()
}

pub(crate) fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}
