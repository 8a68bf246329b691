//! What registries, token services and the hub answer; the first byte chooses the reader.
#![no_main]

use std::time::{Duration, SystemTime};

use hone_registry::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        b'e' => {
            let error = parse::registry_error(bytes);
            let shown = error.code + &error.message;
            assert!(!shown.contains(char::is_control) && shown.len() < 8192, "{shown:?}");
        }
        b't' => {
            if let Some(token) = parse::token(bytes) {
                assert!(token.secret.bytes().all(|b| b.is_ascii_graphic()), "a token that no header can carry");
            }
        }
        b'r' => drop(parse::referrers(bytes)),
        b'm' => {
            if let Ok(model) = hone_image::hub::model("org/name", bytes) {
                for file in &model.files {
                    assert!(hone_image::tar::check_path(&file.path).is_ok(), "{:?}", file.path);
                }
            }
        }
        _ => headers(bytes),
    }
});

fn headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for challenge in parse::challenges(text) {
        let _ = challenge.param("realm");
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let _ = (parse::content_range(text), parse::unsatisfied_range(text));
    let _ = (parse::upload_offset(text), parse::retry_after(text, now));
    let location = parse::next_link(text).unwrap_or(text);
    for base in ["https://registry.example:8443/v2/a/blobs/?x=1", "http://[::1]:5000/v2/"] {
        let Some(joined) = parse::join(base, location) else { continue };
        let origin = parse::origin(&joined).expect("an URL");
        assert!(origin.starts_with("https://") || base.starts_with("http://"), "from https down to {joined:?}");
    }
    if let Some(authority) = parse::authority(text) {
        let _ = parse::is_loopback(authority);
    }
}
