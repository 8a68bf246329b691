//! Logins are tried against a registry, by the password itself or by its token service, and kept where docker keeps them.

#![allow(missing_docs)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::fake::{Fake, Script};
use common::{again, quick, repository};
use hone_contract::chain;
use hone_registry::login::{Kept, Login, Tried, forget, keep, registries, user};
use hone_registry::{Client, Options};

/// hone:pw.
const BASIC: &str = "Basic aG9uZTpwdw==";

fn login<'a>(registry: &'a str, password: &'a str) -> Login<'a> {
    Login { registry, user: "hone", password }
}

fn client(files: &[&Path]) -> Client {
    let auth_files = files.iter().map(|file| file.to_path_buf()).collect();
    Client::new(Options { auth_files, retry: quick(), ..Options::default() })
}

#[test]
fn a_login_is_tried_at_the_registry_or_at_its_token_service() {
    for token_uses in [None, Some(9)] {
        let registry = Fake::start(Script { basic: Some(BASIC.into()), token_uses, ..Script::default() });
        let tried = |password: &str| client(&[]).try_login(&login(&registry.host, password));
        assert_eq!(tried("pw").expect("known"), Tried::Proven);
        let error = tried("other").expect_err("unknown");
        assert_eq!(error.status(), Some(401), "{}", chain(&error));
        assert!(error.to_string().ends_with("check the user and the password"), "{error}");
        assert!(client(&[]).try_login(&Login { user: "ho:ne", ..login(&registry.host, "pw") }).is_err());
    }
    let open = Fake::start(Script::default());
    assert_eq!(client(&[]).try_login(&login(&open.host, "any")).expect("open"), Tried::NotAsked);
}

#[test]
fn what_is_kept_is_used_by_every_verb_until_it_is_forgotten() {
    let registry = Fake::start(Script { basic: Some(BASIC.into()), ..Script::default() });
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("config.json");
    // Nothing is there: who may pull is told so, and who may not is told something else.
    let pulls = || repository(&client(&[&file]), &registry.host, "a").manifest("x").expect_err("empty").status();
    assert_eq!(client(&[&file]).try_kept(&registry.host).expect("nothing is kept"), None);
    assert_eq!(pulls(), Some(401));
    assert_eq!(keep(&file, &login(&registry.host, "pw")).expect("keep"), Kept::Plain);
    assert_eq!(pulls(), Some(404));
    assert_eq!(client(&[&file]).try_kept(&registry.host).expect("known"), Some(Tried::Proven));
    assert!(forget(&file, &registry.host).expect("forget"));
    assert_eq!(pulls(), Some(401));
}

/// A helper that keeps what it is given in a file, in the PATH of the test that runs again.
const HELPER: &str = r#"#!/bin/sh
case $1 in
store) cat >"$HONE_TEST_DIR/kept" ;;
get) cat >/dev/null; if [ -e "$HONE_TEST_DIR/kept" ]; then cat "$HONE_TEST_DIR/kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) cat >"$HONE_TEST_DIR/erased"; if [ -e "$HONE_TEST_DIR/kept" ]; then rm "$HONE_TEST_DIR/kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
esac
"#;

#[test]
fn a_helper_keeps_what_is_not_for_a_file() {
    let Some(dir) = std::env::var_os("HONE_TEST_DIR").map(std::path::PathBuf::from) else {
        let dir = tempfile::tempdir().expect("directory");
        for (name, script) in [("test", HELPER), ("broken", "#!/bin/sh\necho locked >&2\nexit 3\n")] {
            let program = dir.path().join(format!("docker-credential-{name}"));
            std::fs::write(&program, script).expect("helper");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
        }
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").expect("PATH"));
        let environment = [("HONE_TEST_DIR", dir.path().as_os_str()), ("PATH", path.as_ref())];
        return again("a_helper_keeps_what_is_not_for_a_file", &environment);
    };
    let file = dir.join("config.json");
    let begin = r#"{"credsStore": "broken", "credHelpers": {"r.example": "test"}}"#;
    std::fs::write(&file, begin).expect("write");
    assert!(!forget(&file, "r.example").expect("nothing there"));
    assert_eq!(std::fs::read_to_string(&file).expect("file"), begin);
    assert_eq!(keep(&file, &login("r.example", "secret")).expect("keep"), Kept::Helper("test".into()));
    let text = std::fs::read_to_string(&file).expect("file");
    assert!(!text.contains("secret") && !text.contains("auth\""), "{text}");
    let kept = std::fs::read_to_string(dir.join("kept")).expect("kept");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    assert_eq!(kept, serde_json::json!({"ServerURL": "r.example", "Username": "hone", "Secret": "secret"}));
    assert_eq!(user(std::slice::from_ref(&file), "r.example").expect("user").as_deref(), Some("hone"));
    assert_eq!(registries(&file).expect("listed"), ["r.example"]);
    assert!(forget(&file, "r.example").expect("forget"));
    assert_eq!(std::fs::read_to_string(dir.join("erased")).expect("erased"), "r.example");
    assert_eq!(user(std::slice::from_ref(&file), "r.example").expect("user"), None);
    // One that does not work keeps nothing, and says why.
    let before = std::fs::read_to_string(&file).expect("file");
    let said = chain(&keep(&file, &login("o.example", "secret")).expect_err("broken"));
    assert!(said.contains("docker-credential-broken store fails: locked") && !said.contains("secret"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).expect("file"), before);
}
