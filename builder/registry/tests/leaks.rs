//! What an attacker at the other end of a redirect gets: no password, no token, no say in where they go.

#![allow(missing_docs)]

mod common;

use common::fake::{Canned, Fake, Script, Seen};
use common::{again, described, opener, quick, read, repository, seeded};
use hone_contract::digest::Digest;
use hone_image::media;
use hone_registry::hub::Name;
use hone_registry::{Client, Error, Options, Repository};

/// hone:pw, and a refresh token, as `docker login` writes them.
const CREDENTIALS: [&str; 2] = [r#"{"auth":"aG9uZTpwdw=="}"#, r#"{"auth":"","identitytoken":"refresh"}"#];

/// A repository of a registry at which we are somebody.
fn known_at(fake: &Fake, auth: &str) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("auth.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{}":{auth}}}}}"#, fake.host)).expect("write");
    let options = Options { auth_files: vec![file], retry: quick(), ..Options::default() };
    (dir, repository(&Client::new(options), &fake.host, "team/a"))
}

fn moved(start: &str, to: &str) -> (String, Canned) {
    let headers = vec![("Location".to_owned(), to.to_owned())];
    (start.to_owned(), Canned { status: 307, headers, body: Vec::new() })
}

/// A host that asks everyone who they are, and names a token service of its own.
fn evil() -> Fake {
    Fake::start(Script { token_uses: Some(99), ..Script::default() })
}

/// Whether any of it tells who we are.
fn tells(seen: &[Seen]) -> bool {
    seen.iter()
        .any(|s| s.header("authorization").is_some() || s.form.contains("refresh") || s.target.contains("hone"))
}

/// A verb, and how the request of it begins that is redirected.
type Attempt = (&'static str, fn(&Repository) -> Result<(), Error>);

fn attempts() -> Vec<Attempt> {
    const BLOB: &[u8] = b"{}";
    vec![
        ("GET /v2/team/a/blobs/", |r| r.blob(&described(BLOB), 0).map(drop)),
        ("GET /v2/team/a/manifests/", |r| r.manifest("v1").map(drop)),
        ("GET /v2/team/a/referrers/", |r| r.referrers(Digest::of(BLOB)).map(drop)),
        ("HEAD /v2/team/a/blobs/", |r| r.push_blob(&described(BLOB), &opener(BLOB), &[], &mut |_| ()).map(drop)),
        ("POST /v2/team/a/blobs/uploads/", |r| {
            r.push_blob(&described(BLOB), &opener(BLOB), &[], &mut |_| ()).map(drop)
        }),
        ("POST /v2/team/a/blobs/uploads/?mount", |r| {
            r.push_blob(&described(BLOB), &opener(BLOB), &["team/b"], &mut |_| ()).map(drop)
        }),
        ("PUT /v2/team/a/manifests/", |r| r.push_manifest("v1", media::MANIFEST, BLOB).map(drop)),
    ]
}

#[test]
fn the_target_of_a_redirect_is_not_told_who_we_are() {
    for auth in CREDENTIALS {
        // Whether the registry itself has asked who we are before, and was told.
        for asked in [false, true] {
            for (number, (start, attempt)) in attempts().into_iter().enumerate() {
                let evil = evil();
                let registry = Fake::start(Script { token_uses: asked.then_some(99), ..Script::default() });
                let (_dir, repository) = known_at(&registry, auth);
                let alone = repository.manifest("other").expect_err("the registry alone has none");
                assert_eq!(alone.status(), Some(404), "{alone}");
                registry.state().script.canned = vec![moved(start, &format!("http://{}/x", evil.host))];
                let result = attempt(&repository);
                let seen = evil.state().seen.clone();
                assert!(!tells(&seen), "{number} {start}: {seen:?}");
                assert!(seen.iter().all(|s| !s.target.starts_with("/token")), "{number} {start}: {seen:?}");
                // A mount that leads nowhere is an upload of the registry's own.
                if !start.contains("mount") {
                    let said = result.expect_err("the redirect's target refuses").to_string();
                    assert!(said.contains(&evil.host) || said.contains("another host"), "{number} {start}: {said}");
                    assert!(!said.contains("docker login"), "{number} {start}: {said}");
                }
                // What it named is not remembered either: another scope is asked for where the registry says.
                let _ = repository.push_manifest("v2", media::MANIFEST, b"{}");
                assert!(!tells(&evil.state().seen), "{number} {start}");
            }
        }
    }
}

#[test]
fn nor_is_it_by_a_way_back_or_as_the_place_of_an_upload() {
    for auth in CREDENTIALS {
        let (evil, registry) = (evil(), Fake::start(Script { token_uses: Some(99), ..Script::default() }));
        registry.put_blob(b"{}");
        let (_dir, repository) = known_at(&registry, auth);
        // Led back: the question is the registry's own, and yet the answer to a stranger's request.
        let blob = format!("/v2/team/a/blobs/{}", described(b"{}").digest);
        registry.state().script.canned = vec![moved(&format!("GET {blob}"), &format!("http://{}/back", evil.host))];
        evil.state().script.canned = vec![moved("GET /back", &format!("http://{}{blob}", registry.host))];
        assert_eq!(repository.blob(&described(b"{}"), 0).expect_err("led astray").status(), Some(401));
        assert!(!tells(&registry.state().seen) && !tells(&evil.state().seen));

        let place = vec![("Location".to_owned(), format!("http://{}/upload/1", evil.host))];
        let elsewhere = Canned { status: 202, headers: place, body: Vec::new() };
        registry.state().script.canned = vec![("POST /v2/team/a/blobs/uploads/".to_owned(), elsewhere)];
        for size in [3, 3 << 20] {
            let bytes = seeded(size);
            let pushed = repository.push_blob(&described(&bytes), &opener(&bytes), &[], &mut |_| ());
            assert_eq!(pushed.is_err(), size == 3, "once the upload is elsewhere, where it is refused");
        }
        assert!(evil.count("PUT") > 0 && !tells(&evil.state().seen), "{:?}", evil.state().seen);
    }
}

#[test]
fn a_stranger_begins_no_upload_at_the_registry() {
    for location in ["http://REGISTRY/v2/other/blobs/uploads/1", "/v2/other/blobs/uploads/1"] {
        let (stranger, registry) = (Fake::start(Script::default()), Fake::start(Script::default()));
        let (_dir, repository) = known_at(&registry, CREDENTIALS[0]);
        registry.state().script.canned = vec![moved("POST /v2/", &format!("http://{}/x", stranger.host))];
        let place = vec![("Location".to_owned(), location.replace("REGISTRY", &registry.host))];
        let begun = Canned { status: 202, headers: place, body: Vec::new() };
        stranger.state().script.canned = vec![("POST /x".to_owned(), begun)];
        let pushed = repository.push_blob(&described(b"{}"), &opener(b"{}"), &[], &mut |_| ());
        // A relative place is one of the stranger's own, where nothing is.
        assert!(pushed.is_err() || location.starts_with('/'), "{location}");
        let sent = |s: &Seen| s.target.contains("/v2/other/");
        assert!(!registry.state().seen.iter().any(sent), "{location}: {:?}", registry.state().seen);
    }
}

/// A place that an upload goes on at, and what of it is there.
fn place(status: u16, url: &str, range: Option<&str>) -> Canned {
    let range = range.map(|range| ("Range".to_owned(), range.to_owned()));
    let headers = [("Location".to_owned(), url.to_owned())].into_iter().chain(range).collect();
    Canned { status, headers, body: Vec::new() }
}

/// An upload that the registry leaves to another host: by a redirect, or by naming a place there.
fn left_to(other: &Fake, redirected: bool, at: &str) -> (String, Canned) {
    let there = format!("http://{}{at}", other.host);
    let begin = "POST /v2/team/a/blobs/uploads/";
    if redirected { moved(begin, &there) } else { (begin.to_owned(), place(202, &there, None)) }
}

#[test]
fn a_stranger_leads_no_upload_back_to_the_registry() {
    let bytes = seeded(3 << 20);
    // After some of it, after all of it, and when it is asked how far it came: of the whole, and of a part.
    for (ending, redirected) in (0..4).flat_map(|ending| [(ending, false), (ending, true)]) {
        let (stranger, registry) = (Fake::start(Script::default()), Fake::start(Script::default()));
        let (_dir, repository) = known_at(&registry, CREDENTIALS[0]);
        let victim = format!("http://{}/v2/victim/prod/manifests/latest", registry.host);
        registry.state().script.canned = vec![left_to(&stranger, redirected, "/up/1")];
        let mut canned = vec![("POST /up/1".to_owned(), place(202, "/up/1", None))];
        let refused = ("PATCH /up/1".to_owned(), Canned { status: 404, ..Canned::default() });
        canned.extend(match ending {
            0 => vec![("PATCH /up/1".to_owned(), place(202, &victim, Some("0-99")))],
            1 => vec![("PATCH /up/1".to_owned(), place(202, &victim, None))],
            2 => vec![refused, ("GET /up/1".to_owned(), place(204, &victim, None))],
            _ => vec![refused, ("GET /up/1".to_owned(), place(204, &victim, Some("0-99")))],
        });
        stranger.state().script.canned = canned;
        let pushed = repository.push_blob(&described(&bytes), &opener(&bytes), &[], &mut |_| ());
        let said = pushed.expect_err("led back").to_string();
        assert!(said.contains("leads it back"), "{ending} {redirected}: {said}");
        let seen = registry.state().seen.clone();
        assert!(!seen.iter().any(|s| s.target.contains("victim")), "{ending} {redirected}: {seen:?}");
        assert!(!tells(&stranger.state().seen), "{ending} {redirected}");
    }
}

#[test]
fn nor_is_an_upload_that_the_registry_keeps_led_by_whom_it_redirects_to() {
    let bytes = seeded(3 << 20);
    let (stranger, registry) = (Fake::start(Script::default()), Fake::start(Script::default()));
    let (_dir, repository) = known_at(&registry, CREDENTIALS[0]);
    let victim = format!("http://{}/v2/victim/prod/manifests/latest", registry.host);
    let refused = ("PATCH /v2/x/".to_owned(), Canned { status: 404, ..Canned::default() });
    registry.state().script.canned =
        vec![refused, moved("GET /v2/x/blobs/uploads/", &format!("http://{}/x", stranger.host))];
    stranger.state().script.canned = vec![("GET /x".to_owned(), place(204, &victim, None))];
    let pushed = repository.push_blob(&described(&bytes), &opener(&bytes), &[], &mut |_| ());
    assert!(pushed.expect_err("led back").to_string().contains("leads it back"));
    assert!(!registry.state().seen.iter().any(|s| s.target.contains("victim")));
}

/// The harmless twin: a registry that leaves uploads to a host for them, where they also go on after a break.
#[test]
fn an_upload_may_be_at_another_host_and_stay_there() {
    let bytes = seeded(3 << 20);
    for (cut, redirected) in [(None, false), (None, true), (Some(1 << 20), false)] {
        let script = Script { cut_up: cut.into_iter().collect(), ..Script::default() };
        let (uploads, registry) = (Fake::start(script), Fake::start(Script::default()));
        let (_dir, repository) = known_at(&registry, CREDENTIALS[0]);
        uploads.state().uploads.insert("u0".into(), Vec::new());
        let at = if redirected { "/v2/x/blobs/uploads/" } else { "/v2/x/blobs/uploads/u0" };
        registry.state().script.canned = vec![left_to(&uploads, redirected, at)];
        repository.push_blob(&described(&bytes), &opener(&bytes), &[], &mut |_| ()).expect("pushed");
        assert_eq!(uploads.blob(Digest::of(&bytes)).as_deref(), Some(&bytes[..]), "{cut:?} {redirected}");
        assert!(!tells(&uploads.state().seen), "{cut:?} {redirected}");
    }
}

#[test]
fn a_stranger_continues_no_list_at_the_registry() {
    for (name, led) in [("http://REGISTRY/v2/other/referrers/x", true), ("/v2/other/referrers/x", false)] {
        let (stranger, registry) = (Fake::start(Script::default()), Fake::start(Script::default()));
        let (_dir, repository) = known_at(&registry, CREDENTIALS[0]);
        let list = "GET /v2/team/a/referrers/";
        registry.state().script.canned = vec![moved(list, &format!("http://{}/x", stranger.host))];
        let link = format!("<{}>; rel=\"next\"", name.replace("REGISTRY", &registry.host));
        let body = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
        let page = Canned { status: 200, headers: vec![("Link".into(), link)], body };
        stranger.state().script.canned = vec![("GET /x".to_owned(), page)];
        let said = repository.referrers(Digest::of(b"x")).expect_err("led back").to_string();
        assert!(said.contains("continues its list at another host"), "{led}: {said}");
        assert!(!registry.state().seen.iter().any(|s| s.target.contains("/v2/other/")), "{led}");
    }
}

#[test]
fn a_token_service_that_redirects_takes_nothing_along() {
    for auth in CREDENTIALS {
        let (evil, registry) = (evil(), Fake::start(Script { token_uses: Some(99), ..Script::default() }));
        let (_dir, repository) = known_at(&registry, auth);
        let to = format!("http://{}/token", evil.host);
        registry.state().script.canned = vec![moved("GET /token", &to), moved("POST /token", &to)];
        let _ = repository.manifest("x");
        let seen = evil.state().seen.clone();
        let secret = |s: &Seen| s.header("authorization").is_some() || s.form.contains("refresh");
        assert!(!seen.iter().any(secret), "{seen:?}");
    }
}

#[test]
fn a_hub_s_storage_is_not_told_either() {
    let (evil, hub) = (evil(), Fake::start(Script::default()));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let file = format!(r#"{{"rfilename":"a.json","size":2,"blobId":"{commit}"}}"#);
    let body = format!(r#"{{"sha":"{commit}","siblings":[{file}]}}"#);
    hub.state().files.insert("/api/models/o/m/revision/main".into(), body.into_bytes());
    hub.state().script.canned = vec![moved("GET /o/m/resolve/", &format!("http://{}/x", evil.host))];
    let client = Client::new(Options { retry: quick(), ..Options::default() });
    let there = client.hub(&format!("http://{}", hub.host), Some("hf_secret".into())).expect("hub");
    let model = there.model(&"hf://o/m".parse::<Name>().expect("name")).expect("model");
    let said = there.file(&model, &model.files[0]).expect("file").open(0).expect_err("refused").to_string();
    assert!(said.contains(&evil.host) && !said.contains("HF_TOKEN"), "{said}");
    assert_eq!(evil.count("GET"), 1);
    assert!(!tells(&evil.state().seen));
}

/// The environment names the place of credentials, which a test cannot change for itself: it starts itself again.
#[test]
fn who_names_a_place_of_credentials_is_nobody_else() {
    if let Ok(name) = std::env::var("HONE_TEST_REPOSITORY") {
        let auth_files = hone_registry::auth_files(&|name| std::env::var_os(name));
        let client = Client::new(Options { auth_files, retry: quick(), ..Options::default() });
        let _ = client.repository(&name.parse().expect("reference")).expect("repository").manifest("x");
        return;
    }
    let home = tempfile::tempdir().expect("directory");
    let file = |name: &str, user: &str, fake: &Fake| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        let entry = format!(r#"{{"username":"{user}","password":"pw"}}"#);
        std::fs::write(path, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, fake.host)).expect("write");
    };
    for (set, want) in [
        (&[][..], "podman"),
        (&[("DOCKER_CONFIG", "none")], ""),
        (&[("DOCKER_CONFIG", "other")], "other"),
        (&[("REGISTRY_AUTH_FILE", "none.json")], ""),
        (&[("REGISTRY_AUTH_FILE", "other/config.json")], "other"),
        (&[("REGISTRY_AUTH_FILE", "none.json"), ("DOCKER_CONFIG", "other")], ""),
    ] {
        let fake = Fake::start(Script { token_uses: Some(9), ..Script::default() });
        file(".docker/config.json", "docker", &fake);
        file(".config/containers/auth.json", "podman", &fake);
        file("other/config.json", "other", &fake);
        let places: Vec<_> = set.iter().map(|(name, place)| (*name, home.path().join(place))).collect();
        let name = format!("{}/team/a", fake.host);
        let empty = home.path().join("none");
        let mut environment = vec![
            ("HONE_TEST_REPOSITORY", name.as_ref()),
            ("HOME", home.path().as_os_str()),
            ("XDG_RUNTIME_DIR", empty.as_os_str()),
            ("XDG_CONFIG_HOME", "".as_ref()),
        ];
        environment.extend(places.iter().map(|(name, place)| (*name, place.as_os_str())));
        again("who_names_a_place_of_credentials_is_nobody_else", &environment);
        let seen = fake.state().seen.clone();
        let account = seen.iter().find_map(|s| s.target.split_once("account=")).map(|(_, user)| user.to_owned());
        assert_eq!(account.unwrap_or_default(), want, "{set:?}");
    }
}

/// The harmless twin: docker's registry names auth.docker.io.
#[test]
fn a_registry_s_own_question_may_name_another_host() {
    for (auth, method) in CREDENTIALS.into_iter().zip(["GET", "POST"]) {
        let service = Fake::start(Script::default());
        service.state().files.insert("/token".into(), br#"{"token":"theirs"}"#.to_vec());
        let answer = Canned { status: 200, body: br#"{"token":"theirs"}"#.to_vec(), ..Canned::default() };
        service.state().script.canned = vec![(format!("{method} /token"), answer)];
        let realm = Some(format!("http://{}/token", service.host));
        let registry = Fake::start(Script { token_uses: Some(0), realm, ..Script::default() });
        registry.state().trust("theirs");
        registry.put_blob(b"hello");
        let (_dir, repository) = known_at(&registry, auth);
        assert_eq!(read(repository.blob(&described(b"hello"), 0).expect("open")).expect("pull"), b"hello");
        let seen = service.state().seen.clone();
        assert_eq!((seen[0].method.as_str(), tells(&seen)), (method, true));
        let bearer = |s: &Seen| s.header("authorization").is_none_or(|a| a == "Bearer theirs");
        assert!(registry.state().seen.iter().all(bearer));
    }
}

/// The other one: a registry that moves things about within itself.
#[test]
fn a_registry_may_redirect_to_itself_and_ask_there() {
    let registry = Fake::start(Script { token_uses: Some(99), ..Script::default() });
    registry.put_blob(b"hello");
    let (_dir, repository) = known_at(&registry, CREDENTIALS[0]);
    let blob = format!("/v2/team/a/blobs/{}", described(b"hello").digest);
    registry.state().script.canned = vec![moved(&format!("GET {blob}"), &format!("{blob}?here"))];
    assert_eq!(read(repository.blob(&described(b"hello"), 0).expect("open")).expect("pull"), b"hello");
    assert!(registry.state().seen.iter().any(|s| s.target.ends_with("?here")));
}

#[test]
fn a_token_service_without_oauth2_is_asked_by_get() {
    let refusing = |status| ("POST /token".to_owned(), Canned { status, ..Canned::default() });
    for (status, asked) in [(404, true), (405, true), (401, true), (400, true), (403, false), (409, false)] {
        let canned = vec![refusing(status)];
        let registry = Fake::start(Script { token_uses: Some(9), canned, ..Script::default() });
        let (_dir, repository) = known_at(&registry, CREDENTIALS[1]);
        let said = repository.manifest("x").expect_err("there is none");
        assert_eq!(said.status() == Some(404) && !said.to_string().contains("token"), asked, "{status}: {said}");
        let seen = registry.state().seen.clone();
        let got: Vec<&Seen> = seen.iter().filter(|s| s.method == "GET" && s.target.starts_with("/token")).collect();
        assert_eq!(got.len(), usize::from(asked), "{status}");
        // `:refresh`, as containerd sends it.
        assert!(got.iter().all(|s| s.header("authorization") == Some("Basic OnJlZnJlc2g=")), "{status}");
    }
}
