//! Setting and removing one member of a JSON object as text: crate `jsonc-parser` keeps everything else, its order and
//! its spacing. It also reads what is not quite JSON; serde_json has refused that before.

use hone_contract::quoted;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;

fn parsed(text: &str) -> Result<CstRootNode, String> {
    CstRootNode::parse(text, &ParseOptions::default())
        .map_err(|error| format!("not JSON: {}", quoted(&error.to_string())))
}

fn member(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    // Of a key given twice the last one counts, as in encoding/json.
    object.properties().into_iter().rfind(|member| member.decoded_name().as_deref() == Some(name))
}

/// Sets the member that `path` and `name` lead to, making the objects on the way.
pub(super) fn set(text: &str, path: &[&str], name: &str, value: &Value) -> Result<String, String> {
    let root = parsed(text)?;
    let mut object = root.object_value_or_set();
    for name in path {
        let made = || object.append(name, CstInputValue::Object(Vec::new()));
        object = member(&object, name).unwrap_or_else(made).object_value_or_set();
    }
    match member(&object, name) {
        Some(member) => member.set_value(input(value)),
        None => drop(object.append(name, input(value))),
    }
    Ok(root.to_string())
}

/// Removes the member that `path` and `name` lead to, with its comma; objects on the way stay, also when they are empty now.
pub(super) fn remove(text: &str, path: &[&str], name: &str) -> Result<String, String> {
    let root = parsed(text)?;
    let on_the_way = |object: CstObject, name: &&str| member(&object, name)?.object_value();
    let object = root.object_value().and_then(|object| path.iter().try_fold(object, on_the_way));
    if let Some(member) = object.and_then(|object| member(&object, name)) {
        member.remove();
    }
    Ok(root.to_string())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(members) => {
            CstInputValue::Object(members.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Value, member, parsed};

    fn set(text: &str, value: &Value) -> String {
        super::set(text, &["runtimes"], "hone", value).unwrap()
    }

    fn remove(text: &str, name: &str) -> String {
        super::remove(text, &["runtimes"], name).unwrap()
    }

    #[test]
    fn an_empty_file_becomes_an_object() {
        let text = set("", &json!(1));
        assert_eq!(text, "{\n  \"runtimes\": {\n    \"hone\": 1\n  }\n}\n");
        assert_eq!(set("{}\n", &json!(1)), text);
    }

    #[test]
    fn other_members_keep_their_bytes() {
        let text = "{ \"z\":[1,2 ],\n\t\"a\" : \"}\\\"{\"\n}";
        let with = set(text, &json!(1));
        assert!(with.starts_with("{ \"z\":[1,2 ],\n\t\"a\" : \"}\\\"{\",\n"), "{with}");
        assert_eq!(serde_json::from_str::<Value>(&with).unwrap()["runtimes"]["hone"], json!(1));
    }

    #[test]
    fn set_then_remove_gives_the_same_value_for_every_place() {
        for text in [
            r#"{"runtimes":{}}"#,
            r#"{"runtimes": {"a": 1}, "b": 2}"#,
            r#"{"b": 2, "runtimes": {"a": {"hone": 3}, "c": [{}]} }"#,
            r#"{"runtimes": { }, "b": true}"#,
        ] {
            let with = set(text, &json!({ "path": "/x" }));
            let value: Value = serde_json::from_str(&with).unwrap();
            assert_eq!(value["runtimes"]["hone"]["path"], "/x", "{with}");
            let without: Value = serde_json::from_str(&remove(&with, "hone")).unwrap();
            assert_eq!(without, serde_json::from_str::<Value>(text).unwrap());
        }
    }

    #[test]
    fn the_first_the_middle_and_the_last_member_can_go() {
        let text = r#"{"runtimes": {"a": 1, "b": 2, "c": 3}}"#;
        for name in ["a", "b", "c"] {
            let mut want: Value = serde_json::from_str(text).unwrap();
            want["runtimes"].as_object_mut().unwrap().remove(name);
            let got = remove(text, name);
            assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), want, "{got}");
        }
        assert_eq!(remove(text, "absent"), text);
    }

    #[test]
    fn an_existing_member_is_replaced_in_place() {
        let text = r#"{"runtimes": {"hone": {"path": "/old"}, "b": 2}}"#;
        assert_eq!(set(text, &json!(1)), r#"{"runtimes": {"hone": 1, "b": 2}}"#);
    }

    #[test]
    fn of_a_member_given_twice_the_last_one_counts() {
        let text = r#"{"runtimes": {"hone": 1}, "runtimes": {"h\u006fne": 2}}"#;
        assert_eq!(set(text, &json!(3)), r#"{"runtimes": {"hone": 1}, "runtimes": {"h\u006fne": 3}}"#);
        let left = parsed(&remove(text, "hone")).unwrap().object_value().unwrap();
        assert!(member(&left, "runtimes").unwrap().object_value().unwrap().properties().is_empty());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["{", "{\"a\": }", "{}}"] {
            for refused in [super::set(text, &[], "x", &json!(1)), super::remove(text, &[], "x")] {
                assert!(refused.unwrap_err().starts_with("not JSON: "), "{text}");
            }
        }
    }
}
