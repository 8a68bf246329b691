//! Manifests of other makers' model artifacts: whatever is taken of one has a plain relative name.
#![no_main]

use hone_image::foreign::{Form, maker, parts};
use hone_image::oci::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
    let _ = maker(&manifest);
    match parts(&manifest) {
        Ok(parts) => {
            assert!(!parts.is_empty() && parts.len() <= manifest.layers.len());
            for part in &parts {
                if let Form::Raw(name) = &part.form {
                    assert!(hone_image::tar::check_path(name).is_ok(), "{name:?}");
                }
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && said.len() < 10_000, "{} bytes", said.len());
        }
    }
});
