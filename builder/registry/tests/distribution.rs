//! Against Debian's docker-registry: what is pushed is what is pulled, with and without a password.

#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use common::distribution::Distribution;
use common::{again, client, described, opener, quick, read, repository, seeded};
use hone_contract::digest::Digest;
use hone_image::media;
use hone_image::oci::{Descriptor, Manifest, Sealed};
use hone_registry::{Client, Error, Options, Pushed};

fn manifest(config: &Descriptor, layer: &Descriptor) -> Manifest {
    let config = Descriptor { media_type: media::CONFIG.into(), ..config.clone() };
    let layer = Descriptor { media_type: media::LAYER_TAR.into(), ..layer.clone() };
    Manifest::new(config, vec![layer], BTreeMap::new())
}

#[test]
fn what_is_pushed_is_pulled() {
    let Some(registry) = Distribution::start(false) else { return };
    let repository = repository(&client(), &registry.host, "team/a");
    let (config, layer) = (b"{}".to_vec(), seeded(64 << 20));
    let blobs = [described(&config), described(&layer)];
    let mut highest = 0;
    for (bytes, blob) in [&config, &layer].into_iter().zip(&blobs) {
        let pushed = repository.push_blob(blob, &opener(bytes), &[], &mut |n| highest = n).expect("push");
        assert_eq!(pushed, Pushed::Sent { bytes: blob.size });
        assert_eq!(highest, blob.size);
        assert_eq!(repository.push_blob(blob, &opener(bytes), &[], &mut |_| ()).expect("again"), Pushed::Existed);
    }
    let document = Sealed::new(manifest(&blobs[0], &blobs[1]));
    let digest = repository.push_manifest("v1", media::MANIFEST, document.bytes()).expect("push manifest");
    assert_eq!(digest, document.digest());
    let none = repository.manifest(&Digest::of(b"none").to_string()).expect_err("none");
    assert_eq!(none.status(), Some(404), "{none}");
    for target in ["v1", &digest.to_string()] {
        let fetched = repository.manifest(target).expect("pull manifest");
        assert_eq!((fetched.digest, fetched.media_type.as_str()), (digest, media::MANIFEST));
        assert_eq!(fetched.bytes, document.bytes());
    }
    let blob = &blobs[1];
    assert!(read(repository.blob(blob, 0).expect("open")).expect("pull") == layer);
    assert!(read(repository.blob(blob, 60 << 20).expect("open")).expect("pull") == layer[60 << 20..]);
    assert!(read(repository.blob(blob, blob.size).expect("open")).expect("pull").is_empty());
}

/// What the fake answers beyond the end of a file is what a real server answers.
#[test]
fn there_is_nothing_beyond_the_end_of_a_blob() {
    let Some(registry) = Distribution::start(false) else { return };
    let repository = repository(&client(), &registry.host, "team/a");
    let bytes = seeded(5000);
    let blob = described(&bytes);
    repository.push_blob(&blob, &opener(&bytes), &[], &mut |_| ()).expect("push");
    let url = format!("http://{}/v2/team/a/blobs/{}", registry.host, blob.digest);
    let download = client().download(&url).expect("url");
    let source = download.open(5000).expect("open");
    assert_eq!(source.size(), Some(5000));
    assert!(read(source).expect("nothing").is_empty());
    assert!(matches!(download.open(5001).expect_err("beyond"), Error::Fewer { have: 5001, .. }));
}

#[test]
fn a_blob_is_mounted_from_a_neighbour() {
    let Some(registry) = Distribution::start(false) else { return };
    let client = client();
    let bytes = seeded(1 << 20);
    let blob = described(&bytes);
    let first = repository(&client, &registry.host, "team/a");
    first.push_blob(&blob, &opener(&bytes), &[], &mut |_| ()).expect("push");
    let second = repository(&client, &registry.host, "team/b");
    let refuse = |_| Err(std::io::Error::other("nothing is to be read"));
    let pushed = second.push_blob(&blob, &refuse, &["team/none", "team/a"], &mut |_| ()).expect("mount");
    assert_eq!(pushed, Pushed::Mounted);
    assert!(read(second.blob(&blob, 0).expect("open")).expect("pull") == bytes);
}

#[test]
fn referrers_are_listed_without_the_api() {
    let Some(registry) = Distribution::start(false) else { return };
    let repository = repository(&client(), &registry.host, "team/a");
    let config = described(b"{}");
    repository.push_blob(&config, &opener(b"{}"), &[], &mut |_| ()).expect("push");
    let subject = Sealed::new(manifest(&config, &config));
    repository.push_manifest("v1", media::MANIFEST, subject.bytes()).expect("subject");
    assert_eq!(repository.referrers(subject.digest()).expect("none yet"), []);
    for kind in ["a/x", "a/y", "a/x"] {
        let referring = Sealed::new(Manifest {
            artifact_type: Some(kind.into()),
            subject: Some(subject.descriptor(media::MANIFEST)),
            ..manifest(&config, &config)
        });
        let target = referring.digest().to_string();
        repository.push_manifest(&target, media::MANIFEST, referring.bytes()).expect("referrer");
    }
    let listed = repository.referrers(subject.digest()).expect("list");
    let kinds: Vec<_> = listed.into_iter().map(|r| r.artifact_type).collect();
    assert_eq!(kinds, [Some("a/x".to_owned()), Some("a/y".to_owned())]);
}

#[test]
fn a_password_comes_from_a_file() {
    let Some(registry) = Distribution::start(true) else { return };
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("config.json");
    let bytes = seeded(3 << 20);
    let blob = described(&bytes);
    let push = |path: &str| {
        let client = Client::new(Options { auth_files: vec![file.clone()], retry: quick(), ..Options::default() });
        repository(&client, &registry.host, path).push_blob(&blob, &opener(&bytes), &[], &mut |_| ())
    };
    let refused = push("a").expect_err("no credentials");
    assert!(matches!(refused, Error::Answer { status: 401, .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("docker login {}", registry.host)), "{refused}");

    let auths = |auth: &str| format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host);
    // hone:pw, then hone:no
    std::fs::write(&file, auths("aG9uZTpwdw==")).expect("file");
    assert_eq!(push("a").expect("with a file"), Pushed::Sent { bytes: blob.size });
    std::fs::write(&file, auths("aG9uZTpubw==")).expect("file");
    assert_eq!(push("b").expect_err("wrong password").status(), Some(401));
}

/// The helper is found by PATH, which a test cannot change for itself: it starts itself again with another one.
#[test]
fn a_password_comes_from_a_helper() {
    if let Ok(name) = std::env::var("HONE_TEST_REPOSITORY") {
        let files = hone_registry::auth_files(&|name| std::env::var_os(name));
        let client = Client::new(Options { auth_files: files, retry: quick(), ..Options::default() });
        let repository = client.repository(&name.parse().expect("reference")).expect("repository");
        let bytes = seeded(1000);
        let pushed = repository.push_blob(&described(&bytes), &opener(&bytes), &[], &mut |_| ()).expect("push");
        assert_eq!(pushed, Pushed::Sent { bytes: 1000 });
        return;
    }
    let Some(registry) = Distribution::start(true) else { return };
    let dir = tempfile::tempdir().expect("directory");
    let host = &registry.host;
    let helper = dir.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread -r host\n[ \"$1 $host\" = 'get {host}' ] || exit 1\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"hone\",\"Secret\":\"pw\"}}'\n"
    );
    std::fs::write(&helper, script).expect("helper");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    let helpers = [format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#), r#"{"credsStore":"test"}"#.to_owned()];
    for (number, config) in helpers.into_iter().enumerate() {
        std::fs::write(dir.path().join("config.json"), config).expect("config");
        let name = format!("{host}/a{number}");
        again(
            "a_password_comes_from_a_helper",
            &[
                ("HONE_TEST_REPOSITORY", name.as_ref()),
                ("DOCKER_CONFIG", dir.path().as_ref()),
                ("PATH", path.as_ref()),
            ],
        );
    }
}
