//! `docs/openapi.yaml`, and a validator of the part of JSON Schema that it uses. A keyword that is not in that part is an error:
//! nothing in the document goes unchecked.

use std::cmp::Ordering;
use std::path::Path;

use regex_lite::Regex;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// Keywords that say nothing of what is valid. Those with `x-` are this document's own.
const NOTES: [&str; 3] = ["description", "default", "x-answer"];

/// The document, with every keyword of its schemas known.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.yaml");
        Self::parse(&std::fs::read_to_string(path).unwrap())
            .unwrap_or_else(|error| panic!("docs/openapi.yaml: {error}"))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let loaded = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
        let [root] = loaded.as_slice() else { return Err("it is not one document".into()) };
        Self::of(json(root)?)
    }

    /// The same from JSON.
    pub(crate) fn of(root: Value) -> Result<Self, String> {
        let document = Self(root);
        let mut faults = Vec::new();
        document.look_through(&document.0, "", &mut faults);
        if faults.is_empty() { Ok(document) } else { Err(faults.join("\n")) }
    }

    /// What a JSON pointer leads to.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or_else(|| panic!("docs/openapi.yaml has no {pointer}"))
    }

    pub(crate) fn schema(&self, name: &str) -> &Value {
        self.at(&format!("/components/schemas/{name}"))
    }

    /// Where `$ref` leads, as often as there is one.
    pub(crate) fn resolve<'a>(&'a self, mut node: &'a Value) -> &'a Value {
        while let Some(reference) = node.get("$ref") {
            node = self.at(reference.as_str().unwrap().strip_prefix('#').expect("a reference within the document"));
        }
        node
    }

    /// Finds every schema: what `schema` holds anywhere, and all components. References must lead somewhere.
    fn look_through(&self, node: &Value, path: &str, faults: &mut Vec<String>) {
        match node {
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Value::as_str)
                    && reference.strip_prefix('#').and_then(|at| self.0.pointer(at)).is_none()
                {
                    faults.push(format!("{path}: {reference} leads nowhere"));
                }
                for (key, value) in map {
                    let here = format!("{path}/{key}");
                    if key == "schema" || path == "/components/schemas" {
                        check_keywords(value, &here, faults);
                    }
                    self.look_through(value, &here, faults);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.look_through(item, path, faults)),
            _ => {}
        }
    }

    /// What is wrong with `value` by the schema of this name.
    pub(crate) fn faults(&self, name: &str, value: &Value) -> Vec<String> {
        self.faults_by(self.schema(name), value)
    }

    pub(crate) fn faults_by(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(schema, value, "", &mut faults);
        faults
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            if keyword == "$ref" {
                self.check(self.resolve(schema), value, at, faults);
            } else if keyword == "oneOf" {
                self.check_one_of(schema, rule, value, at, faults);
            } else if let Some(fault) = scalar_fault(keyword, rule, value) {
                faults.push(format!("{at}: {fault}"));
            }
        }
        match value {
            Value::Object(fields) => self.check_fields(schema, fields, at, faults),
            Value::Array(items) => {
                let Some(rule) = schema.get("items") else { return };
                items.iter().enumerate().for_each(|(i, item)| self.check(rule, item, &format!("{at}/{i}"), faults));
            }
            _ => {}
        }
    }

    fn check_fields(&self, schema: &Value, fields: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !fields.contains_key(*name)) {
            faults.push(format!("{at}: {name} is missing"));
        }
        for (name, value) in fields {
            match schema.get("properties").and_then(|all| all.get(name)) {
                Some(rule) => self.check(rule, value, &format!("{at}/{name}"), faults),
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    faults.push(format!("{at}: {name} is not documented"));
                }
                None => {}
            }
        }
    }

    /// Exactly one of them, and the one that the discriminator names where there is one.
    fn check_one_of(&self, schema: &Value, rules: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some(tag) = schema.pointer("/discriminator/propertyName").and_then(Value::as_str) {
            let known = value.get(tag).and_then(Value::as_str);
            match known.and_then(|name| schema.pointer("/discriminator/mapping")?.get(name)?.as_str()) {
                Some(target) => {
                    self.check(self.at(target.strip_prefix('#').expect("a reference")), value, at, faults);
                }
                None => faults.push(format!("{at}: there is no {tag} {known:?}")),
            }
            return;
        }
        let tried = rules.as_array().unwrap().iter().map(|rule| self.faults_by(rule, value));
        let failed: Vec<Vec<String>> = tried.filter(|faults| !faults.is_empty()).collect();
        let fitting = rules.as_array().unwrap().len() - failed.len();
        if fitting != 1 {
            faults.push(format!("{at}: fits {fitting} of what it can be, not one: {failed:?}"));
        }
    }
}

/// What a keyword finds wrong with a value, when it looks at nothing but these two.
fn scalar_fault(keyword: &str, rule: &Value, value: &Value) -> Option<String> {
    let text = value.as_str();
    let length = |bound: fn(u64, u64) -> bool| {
        let length = text.map(|text| text.chars().count()).or(value.as_array().map(Vec::len));
        length.is_none_or(|length| bound(length as u64, rule.as_u64().unwrap()))
    };
    let number = |bound: fn(&Ordering) -> bool| compare(value, rule).is_none_or(|ordering| bound(&ordering));
    let fits = match keyword {
        "type" => match rule {
            Value::Array(kinds) => kinds.iter().any(|kind| is_a(value, kind.as_str().unwrap())),
            kind => is_a(value, kind.as_str().unwrap()),
        },
        "const" => rule == value,
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => number(|n| n.is_ge()),
        "maximum" => number(|n| n.is_le()),
        "minLength" | "minItems" => length(|n, bound| n >= bound),
        "maxLength" => length(|n, bound| n <= bound),
        "pattern" => text.is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
        // The only one that there is.
        "format" => value.is_u64(),
        _ => true,
    };
    (!fits).then(|| format!("{value:.200} against {keyword} {rule}"))
}

/// Whole numbers exactly: as decimal numbers two of them may be one.
fn compare(value: &Value, bound: &Value) -> Option<Ordering> {
    let whole = |number: &Value| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    match (whole(value), whole(bound)) {
        (Some(value), Some(bound)) => Some(value.cmp(&bound)),
        _ => value.as_f64()?.partial_cmp(&bound.as_f64()?),
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        // To JSON Schema 1.0 is one.
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}

/// Complains of every keyword that the validator does not know, here and in the schemas within.
fn check_keywords(schema: &Value, path: &str, faults: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        return faults.push(format!("{path}: a schema is an object"));
    };
    for (keyword, rule) in schema {
        let here = format!("{path}/{keyword}");
        match keyword.as_str() {
            "properties" => {
                let fields = rule.as_object().into_iter().flatten();
                fields.for_each(|(name, schema)| check_keywords(schema, &format!("{here}/{name}"), faults));
            }
            "items" => check_keywords(rule, &here, faults),
            "oneOf" => {
                let all = rule.as_array().into_iter().flatten();
                all.for_each(|schema| check_keywords(schema, &here, faults));
            }
            "pattern" if rule.as_str().is_some_and(|pattern| Regex::new(pattern).is_ok()) => {}
            "format" if rule == "uint64" => {}
            "additionalProperties" if *rule == Value::Bool(false) => {}
            "$ref" | "discriminator" | "required" | "type" | "const" | "enum" | "minimum" | "maximum" | "minLength"
            | "maxLength" | "minItems" => {}
            note if NOTES.contains(&note) => {}
            _ => faults.push(format!("{here}: the validator does not know this: {rule}")),
        }
    }
}

/// YAML that JSON could say as well.
fn json(node: &Yaml<'_>) -> Result<Value, String> {
    match node {
        Yaml::Value(Scalar::Null) => Ok(Value::Null),
        Yaml::Value(Scalar::Boolean(value)) => Ok(Value::Bool(*value)),
        Yaml::Value(Scalar::Integer(value)) => Ok(Value::from(*value)),
        Yaml::Value(Scalar::FloatingPoint(value)) => Ok(Value::from(**value)),
        Yaml::Value(Scalar::String(value)) => Ok(Value::from(value.as_ref())),
        Yaml::Sequence(items) => items.iter().map(json).collect::<Result<_, _>>().map(Value::Array),
        Yaml::Mapping(map) => {
            let mut fields = Map::new();
            for (key, value) in map {
                let key = key.as_str().ok_or_else(|| format!("{key:?} is no string"))?;
                fields.insert(key.to_owned(), json(value)?);
            }
            Ok(Value::Object(fields))
        }
        other => Err(format!("{other:?} is not JSON")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Document {
        let row = json!({
            "type": "object", "additionalProperties": false, "required": ["id"],
            "properties": {
                "id": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
                "size": {"type": "integer", "minimum": 0, "maximum": 9, "format": "uint64"},
                "kind": {"enum": ["a", "b"]},
                "note": {"oneOf": [{"type": "string"}, {"type": "null"}]},
                "rows": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "minItems": 1},
            },
        });
        let tagged = |tag: &str, field: &str| json!({"type": "object", "required": ["t", field], "properties": {"t": {"const": tag}}});
        let either = json!({
            "oneOf": [{"$ref": "#/components/schemas/One"}, {"$ref": "#/components/schemas/Two"}],
            "discriminator": {"propertyName": "t", "mapping": {"1": "#/components/schemas/One", "2": "#/components/schemas/Two"}},
        });
        let schemas = json!({"Row": row, "One": tagged("1", "x"), "Two": tagged("2", "y"), "Either": either});
        Document::of(json!({"components": {"schemas": schemas}})).unwrap()
    }

    #[test]
    fn each_kind_of_fault_is_found_and_named() {
        let document = document();
        assert_eq!(document.faults("Row", &json!({"id": "ab", "size": 9, "kind": "b", "note": null})), [""; 0]);
        for (value, fault) in [
            (json!({"id": "ab", "new": 1}), ": new is not documented"),
            (json!({"size": 1}), ": id is missing"),
            (json!({"id": 7}), "/id: 7 against type \"string\""),
            (json!([]), ": [] against type \"object\""),
            (json!({"id": "AB"}), "against pattern"),
            (json!({"id": "a"}), "against minLength 2"),
            (json!({"id": "abcde"}), "against maxLength 4"),
            (json!({"id": "ab", "size": 1.5}), "/size: 1.5 against type \"integer\""),
            (json!({"id": "ab", "size": 10}), "against maximum 9"),
            (json!({"id": "ab", "size": -1}), "against minimum 0"),
            (json!({"id": "ab", "kind": "c"}), "against enum"),
            (json!({"id": "ab", "note": 1}), "/note: fits 0 of what it can be"),
            (json!({"id": "ab", "rows": []}), "against minItems 1"),
            (json!({"id": "ab", "rows": [{"id": "ab"}, {"id": "ab", "rows": [{}]}]}), "/rows/1/rows/0: id is missing"),
        ] {
            let faults = document.faults("Row", &value);
            assert!(faults.iter().any(|found| found.contains(fault)), "{value}: {faults:?}");
        }
        assert_eq!(document.faults("Either", &json!({"t": "2", "y": 0})), [""; 0]);
        assert_eq!(document.faults("Either", &json!({"t": "2", "x": 0})), [": y is missing"]);
        assert_eq!(document.faults("Either", &json!({"t": "3"})), [": there is no t Some(\"3\")"]);
    }

    #[test]
    fn a_keyword_that_nobody_checks_and_a_reference_to_nothing_are_refused() {
        for (schema, fault) in [
            (json!({"type": "string", "multipleOf": 2}), "/Row/multipleOf: the validator does not know this"),
            (json!({"properties": {"a": {"format": "date"}}}), "/Row/properties/a/format"),
            (json!({"oneOf": [{"not": {}}]}), "/Row/oneOf/not"),
            (json!({"items": {"additionalProperties": true}}), "/Row/items/additionalProperties"),
            (json!({"pattern": "("}), "/Row/pattern"),
            (json!({"$ref": "#/components/schemas/Lost"}), "leads nowhere"),
        ] {
            let error = Document::of(json!({"components": {"schemas": {"Row": schema}}})).err().unwrap();
            assert!(error.contains(fault), "{error}");
        }
        let inline = json!({"paths": {"/": {"get": {"x": {"schema": {"anyOf": []}}}}}});
        assert!(Document::of(inline).err().unwrap().contains("/paths///get/x/schema/anyOf"));
        assert!(Document::parse("a: [b").is_err() && Document::parse("1: 2").is_err());
    }
}
