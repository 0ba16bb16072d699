//! `docs/openapi.yaml` against the code and against running daemons: what they take and say is what it says, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
#![allow(dead_code, unused_imports, reason = "the support is shared with the scenarios")]

#[cfg(target_os = "linux")]
#[path = "openapi/daemons.rs"]
mod daemons;
#[path = "openapi/document.rs"]
mod document;
#[cfg(target_os = "linux")]
#[path = "openapi/examples.rs"]
mod examples;
#[path = "openapi/samples.rs"]
mod samples;
mod source_support;
#[cfg(target_os = "linux")]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use document::Document;
use lanspread_peer::api::commands::COMMANDS;
use regex_lite::Regex;
use serde_json::{Value, json};
use source_support::{kebab, read, variants_in};

/// Everything that a pattern captures in a file, without the unit tests at its end.
fn captured(path: &str, pattern: &str) -> Vec<String> {
    let text = read(path);
    let code = text.split("#[cfg(test)]").next().unwrap();
    Regex::new(pattern).unwrap().captures_iter(code).map(|found| found[1].to_owned()).collect()
}

/// The variants of an enum as they are on the wire.
fn variants(file: &str, name: &str) -> BTreeSet<String> {
    let names: BTreeSet<String> = variants_in(file, name).into_iter().collect();
    assert!(names.len() > 1, "{name} was read: {names:?}");
    names
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn keys(map: &Value) -> BTreeSet<String> {
    map.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_command_event_code_and_state_is_in_the_document_and_the_reverse() {
    let document = Document::load();
    let commands: BTreeSet<String> = COMMANDS.iter().map(|command| command.name.to_owned()).collect();
    for (union, names) in [("PeerCommand", commands), ("PeerEvent", variants("src/api/events.rs", "PeerEvent"))] {
        let schema = document.schema(union);
        let mapping = &schema["discriminator"]["mapping"];
        assert_eq!(keys(mapping), names, "{union}");
        // What the discriminator chooses from is what there is, and each has its own tag.
        let listed: BTreeSet<&str> =
            schema["oneOf"].as_array().unwrap().iter().map(|item| item["$ref"].as_str().unwrap()).collect();
        assert_eq!(listed, mapping.as_object().unwrap().values().map(|to| to.as_str().unwrap()).collect());
        let tag = schema["discriminator"]["propertyName"].as_str().unwrap();
        for (name, target) in mapping.as_object().unwrap() {
            let schema = document.at(target.as_str().unwrap().strip_prefix('#').unwrap());
            assert_eq!(schema["properties"][tag]["const"], *name);
        }
    }
    for command in COMMANDS {
        let target = document.at("/components/schemas/PeerCommand/discriminator/mapping")[command.name].as_str();
        let schema = document.at(target.unwrap().strip_prefix('#').unwrap());
        assert_eq!(schema["x-answer"], command.reply, "{}", command.name);
        let needed = command.fields.iter().filter(|field| !field.optional).map(|field| field.name.to_owned());
        assert_eq!(strings(&schema["required"]), needed.chain(["cmd".to_owned()]).collect(), "{}", command.name);
    }
    for (file, name) in [
        ("src/api/errors.rs", "ErrorCode"),
        ("src/api/records.rs", "Operation"),
        ("src/api/records.rs", "WatchState"),
        ("src/api/explain.rs", "DownloadState"),
        ("src/api/explain.rs", "SourceState"),
        ("src/api/metrics.rs", "StallCause"),
        ("src/types/interface.rs", "InterfaceKind"),
        ("src/types/library.rs", "InstalledBy"),
        ("src/types/finding.rs", "FindingCode"),
    ] {
        assert_eq!(strings(&document.schema(name)["enum"]), variants(file, name), "{name}");
    }
    let mut reasons = BTreeSet::new();
    for file in ["mod", "dial", "liveness"] {
        reasons.extend(captured(&format!("src/engine/peers/{file}.rs"), r#"\.lose\([^"]*, "([a-z]+)""#));
    }
    assert_eq!(strings(&document.schema("LossReason")["enum"]), reasons);
}

/// Codes by status, as the source has them.
fn codes_in_the_source() -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let mut by_status: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut door = BTreeSet::new();
    let refusal = Regex::new(r#"::new\(\s*([0-9]{3}),\s*"([a-z-]+)""#).unwrap();
    for file in ["mod", "guard", "page", "request", "response", "routes", "session", "stream"] {
        for found in refusal.captures_iter(&read(format!("src/control/http/{file}.rs"))) {
            by_status.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
            door.insert(found[2].to_owned());
        }
    }
    let text = read("src/control/http/response.rs");
    let (_, arms) = text.split_once("fn status_of(code: ErrorCode)").unwrap();
    let (arms, _) = arms.split_once("\n}\n").unwrap();
    let (word, status) = (Regex::new("ErrorCode::([A-Za-z]+)").unwrap(), Regex::new("=> ([0-9]{3})").unwrap());
    let mut from = 0;
    for found in status.captures_iter(arms) {
        let end = found.get(0).unwrap().end();
        // What stands for the codes of later versions is never said.
        let said = word.captures_iter(&arms[from..end]).filter(|code| &code[1] != "Later");
        let codes = said.map(|code| kebab(&code[1]));
        by_status.entry(found[1].to_owned()).or_default().extend(codes);
        from = end;
    }
    (by_status, door)
}

#[test]
fn every_status_has_the_codes_that_the_source_gives_it() {
    let document = Document::load();
    let (by_status, door) = codes_in_the_source();
    assert_eq!(strings(&document.schema("DoorCode")["enum"]), door);
    let code_of = |response: &Value| {
        let response = document.resolve(response);
        strings(&response["content"]["application/json"]["schema"]["properties"]["code"]["enum"])
    };
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in document.at("/paths").as_object().unwrap().values() {
        for method in ["get", "post"] {
            let responses = path.get(method).and_then(|operation| operation["responses"].as_object());
            for (status, response) in responses.into_iter().flatten().filter(|(status, _)| *status >= &"400".to_owned())
            {
                documented.entry(status.clone()).or_default().extend(code_of(response));
            }
        }
    }
    // Of a method that an address does not have, which no operation can list.
    let method = code_of(document.at("/components/responses/MethodNotAllowed"));
    documented.insert("405".into(), method);
    assert_eq!(documented, by_status);
}

#[test]
fn every_route_of_the_door_is_in_the_document_and_the_reverse() {
    let routes = read("src/control/http/routes.rs");
    let (_, table) = routes.split_once("let route = match name {").unwrap();
    let (table, _) = table.split_once("};").unwrap();
    let names = Regex::new(r#""([a-z]+)" => "#).unwrap();
    let mut found: BTreeSet<String> = names.captures_iter(table).map(|name| format!("/api/v1/{}", &name[1])).collect();
    assert!(found.len() > 5, "{found:?}");
    assert!(routes.contains("const BASE: &str = \"/api/v1/\";") && table.contains("strip_prefix(\"games/\")"));
    let metrics = captured("src/control/http/routes.rs", r#"const METRICS: &str = "([^"]+)""#);
    found.extend(metrics);
    let page = captured("src/control/http/page.rs", r#"strip_prefix\("([^"]+)"\)"#);
    found.extend(page.iter().map(|prefix| format!("{prefix}{{file}}")));
    found.extend(["/".to_owned(), "/api/v1/games/{id}".to_owned()]);
    assert_eq!(keys(Document::load().at("/paths")), found);
}
