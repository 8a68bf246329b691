//! tokenizer.json as somebody else may have written it: an error says what is wrong, and a usable one is used.

use hone_train::text::Text;

const GOOD: &str = r#"{"version":"1.0","added_tokens":[],"normalizer":{"type":"NFC"},
 "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true},
 "post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true},
 "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}"#;

fn load(json: &str) -> Result<Text, String> {
    Text::from_json("tokenizer.json", json.as_bytes().to_vec()).map_err(|error| error.to_string())
}

#[test]
fn a_tokenizer_cut_anywhere_is_an_error_and_no_panic() {
    for cut in 0..GOOD.len() {
        let said = load(&GOOD[..cut]).err().expect("a part is no tokenizer");
        assert!(said.contains("tokenizer.json"), "{said}");
    }
    let text = load(GOOD).expect("a tokenizer");
    let ids: Vec<u32> = text.encode("abba", false).expect("tokens").iter().map(|token| token.id).collect();
    assert_eq!(ids, [2, 1, 0]);
    assert_eq!(text.decode(&ids).expect("text"), "abba");
}

#[test]
fn parts_that_are_no_json_or_too_deep_are_errors_and_no_panic() {
    for part in ["nothing", "1e999", "{\"type\":\"Sequence\"", &"[".repeat(100_000), "\"\\ud800\""] {
        for (key, old) in [("decoder", "{\"type\":\"ByteLevel\""), ("normalizer", "{\"type\":\"NFC\"}")] {
            let json = GOOD.replacen(&format!("\"{key}\":{old}"), &format!("\"{key}\":{part}"), 1);
            assert!(load(&json).is_err(), "{key}: {}", &part[..part.len().min(20)]);
        }
    }
}

#[test]
fn merges_that_do_not_fit_the_vocabulary_are_errors_and_no_panic() {
    let with = |merges: &str, prefix: &str| {
        let prefix = format!("\"continuing_subword_prefix\":{prefix},\"vocab\"");
        load(&GOOD.replace("[[\"a\",\"b\"]]", merges).replace("\"vocab\"", &prefix))
    };
    for merges in
        [r#"[["ab","ab"]]"#, r#"["ab a"]"#, r#"[["a"]]"#, r#"["ab"]"#, "[7]", r#"[["b","a"]]"#, r#"["a b c"]"#]
    {
        assert!(with(merges, "null").is_err(), "{merges}");
    }
    assert!(with(r#"[["a","b"]]"#, "\"##\"").is_err());
    assert!(with(r#"[["a","b"]]"#, "null").is_ok());
    assert!(with(r#"["a b"]"#, "\"\"").is_ok());
}
