//! The description of the API against its code: what is in one is in the other.

use std::collections::BTreeSet;

use serde_json::Value;

use super::call::ROUTES;
use super::execute::OPENAPI;

fn description() -> Value {
    serde_json::from_str(OPENAPI).expect("openapi.json is JSON")
}

#[test]
fn every_route_is_described_and_nothing_else() {
    const METHODS: [&str; 5] = ["get", "post", "delete", "put", "patch"];
    let description = description();
    let paths = description["paths"].as_object().expect("paths");
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().expect("a path item").keys().map(move |key| (path, key)))
        .filter(|(_, key)| METHODS.contains(&key.as_str()))
        .map(|(path, method)| (path.clone(), method.to_uppercase()))
        .collect();
    let routed: BTreeSet<_> = ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_string())).collect();
    assert_eq!(described, routed, "left: openapi.json, right: ROUTES in call.rs");

    for route in ROUTES {
        let operation = &paths[route.path][route.method.as_str().to_lowercase()];
        let what = format!("{} {}", route.method, route.path);
        assert_eq!(operation["security"].is_array(), route.open, "{what}: whether anybody may ask");
        assert_eq!(operation["responses"]["401"].is_null(), route.open, "{what}");
        assert!(operation["responses"]["405"].is_object(), "{what}: 405");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{what}: a summary");
        let declared: BTreeSet<&str> = [&operation["parameters"], &paths[route.path]["parameters"]]
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .map(|parameter| match parameter["$ref"].as_str() {
                Some(_) => "doc",
                None => parameter["name"].as_str().expect("a name"),
            })
            .collect();
        for open in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            assert!(declared.contains(open), "{what}: {open} is not described");
        }
    }
}

#[test]
fn every_kind_of_problem_is_described_and_nothing_else() {
    let source = include_str!("../error.rs");
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    // The second argument, wherever a problem is made.
    let made: BTreeSet<&str> = code
        .split("Self::new(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix("StatusCode::"))
        .filter_map(|rest| rest.split('"').nth(1))
        .collect();
    assert!(made.len() > 10, "{made:?}");
    let description = description();
    let kinds = &description["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
    let described: BTreeSet<&str> = kinds.as_array().expect("an enum").iter().filter_map(Value::as_str).collect();
    assert_eq!(described, made, "left: openapi.json, right: error.rs");
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(whole: &Value, part: &Value) {
        match part {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("within the document");
                    assert!(whole.pointer(pointer).is_some(), "{reference}");
                }
                map.values().for_each(|value| check(whole, value));
            }
            Value::Array(list) => list.iter().for_each(|value| check(whole, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let description = description();
    check(&description, &description);
}
