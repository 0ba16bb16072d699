//! Holds the dependency tree against `deny.toml`: banned crates, licences, sources. The same file serves `cargo deny`,
//! which also knows the advisories; this test needs nothing but cargo.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Clone, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Clone, Deserialize)]
struct Package {
    id: String,
    name: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
    root: String,
}

#[derive(Clone, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Clone, Deserialize)]
struct Dep {
    pkg: String,
}

fn policy() -> Policy {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    toml::from_str(&text).expect("deny.toml")
}

/// The whole graph, for every platform, as the lock file pins it.
fn metadata() -> Metadata {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the JSON of cargo metadata")
}

/// One line for every breach, with the way that leads to it. Development dependencies count as well.
fn offences(policy: &Policy, metadata: &Metadata) -> Vec<String> {
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|p| (p.id.as_str(), p)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([metadata.resolve.root.as_str()]);
    let mut queue = vec![(metadata.resolve.root.as_str(), String::new())];
    while let Some((id, way)) = queue.pop() {
        let package = packages[id];
        let way = if way.is_empty() { package.name.clone() } else { format!("{way} > {}", package.name) };
        if let Some(ban) = policy.bans.deny.iter().find(|ban| ban.name == package.name) {
            found.push(format!("{way}: banned ({})", ban.reason));
        }
        if id != metadata.resolve.root {
            let license = package.license.as_deref().unwrap_or("none");
            if !license_allowed(license, &policy.licenses.allow) {
                found.push(format!("{way}: licence {license} is not on the list"));
            }
            let known = |registry: &String| package.source.as_deref() == Some(&format!("registry+{registry}"));
            if !policy.sources.allow_registry.iter().any(known) {
                found.push(format!("{way}: comes from {:?}", package.source));
            }
        }
        for dep in &nodes[id].deps {
            if seen.insert(&dep.pkg) {
                queue.push((&dep.pkg, way.clone()));
            }
        }
    }
    found
}

/// Evaluates an SPDX expression (`AND` binds tighter than `OR`; `/` is the old spelling of `OR`).
fn license_allowed(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "\u{1}");
    let tokens: Vec<String> = text.split(' ').filter(|t| !t.is_empty()).map(|t| t.replace('\u{1}', " WITH ")).collect();
    let mut rest = tokens.as_slice();
    let result = any_of(&mut rest, allowed);
    result && rest.is_empty()
}

fn any_of(rest: &mut &[String], allowed: &[String]) -> bool {
    let mut value = all_of(rest, allowed);
    while rest.first().is_some_and(|t| t == "OR") {
        *rest = &rest[1..];
        value |= all_of(rest, allowed);
    }
    value
}

fn all_of(rest: &mut &[String], allowed: &[String]) -> bool {
    let mut value = term(rest, allowed);
    while rest.first().is_some_and(|t| t == "AND") {
        *rest = &rest[1..];
        value &= term(rest, allowed);
    }
    value
}

fn term(rest: &mut &[String], allowed: &[String]) -> bool {
    let Some((first, tail)) = rest.split_first() else { return false };
    *rest = tail;
    if first != "(" {
        return allowed.contains(first);
    }
    let value = any_of(rest, allowed);
    let closed = rest.first().is_some_and(|t| t == ")");
    *rest = rest.get(1..).unwrap_or_default();
    value && closed
}

#[test]
fn the_dependency_tree_keeps_to_the_deny_list() {
    let metadata = metadata();
    assert!(metadata.packages.len() > 50, "the whole tree was read");
    let found = offences(&policy(), &metadata);
    assert!(found.is_empty(), "deny.toml forbids:\n{}", found.join("\n"));
}

#[test]
fn a_runtime_a_foreign_licence_and_a_foreign_source_are_each_caught() {
    let policy = policy();
    let clean = metadata();
    let plant = |change: &dyn Fn(&mut Package)| {
        let mut planted = clean.clone();
        change(planted.packages.iter_mut().find(|p| p.name == "mio").expect("mio is in the tree"));
        offences(&policy, &planted)
    };
    assert!(plant(&|p| p.name = "tokio".into())[0].contains("no async runtime"));
    assert!(plant(&|p| p.license = Some("AGPL-3.0-only".into()))[0].contains("AGPL"));
    assert!(plant(&|p| p.license = None)[0].contains("none"));
    assert!(plant(&|p| p.source = Some("git+https://example.org/mio".into()))[0].contains("comes from"));
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT/Apache-2.0", true),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("MIT OR GPL-3.0 AND LGPL-2.1", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("", false),
        ("(MIT", false),
    ] {
        assert_eq!(license_allowed(expression, &allowed), expected, "{expression}");
    }
}
