//! `hone install` and `hone uninstall`, as a user meets them: the engine that the user's own command talks to.

mod common;

use std::fs;
use std::path::Path;

use common::Site;
use serde_json::Value;

/// A site whose user's home is in it, with these variables.
fn site(vars: &[(&str, &str)]) -> Site {
    let mut site = Site::new();
    let home = site.path("home").display().to_string();
    for (name, value) in [("HOME", home.as_str()), ("DOCKER_HOST", ""), ("DOCKER_CONTEXT", ""), ("DOCKER_CONFIG", "")]
    {
        site.env(name, value);
    }
    for (name, value) in [("CONTAINERS_CONF", ""), ("CONTAINERS_CONF_OVERRIDE", ""), ("XDG_CONFIG_HOME", "")] {
        site.env(name, value);
    }
    for (name, value) in vars {
        site.env(name, *value);
    }
    site
}

fn runtime(config: &Path) -> Value {
    let text = fs::read_to_string(config).expect("configuration");
    serde_json::from_str::<Value>(&text).expect("JSON")["runtimes"]["hone"].clone()
}

#[test]
fn docker_is_the_one_that_the_user_s_docker_talks_to() {
    let with = ["--config", "daemon.json", "--runtime", "/bin/true"];
    let install = [&["install", "docker"], &with[..]].concat();
    let uninstall = [&["uninstall", "docker"], &with[..]].concat();
    let ours = site(&[("DOCKER_HOST", "unix:///nowhere/d.sock")]);
    let said = ours.ok(&install);
    assert_eq!(runtime(&ours.path("daemon.json"))["runtimeArgs"][3], "docker=unix:///nowhere/d.sock");
    assert!(said.contains("nothing is at /nowhere/d.sock now"), "{said}");
    ours.ok(&uninstall);
    let lab = site(&[("DOCKER_CONTEXT", "lab")]);
    let hash = hone_contract::Digest::of(b"lab").hex();
    let meta = format!("home/.docker/contexts/meta/{hash}/meta.json");
    lab.write(&meta, r#"{"Name":"lab","Endpoints":{"docker":{"Host":"ssh://u@lab"}}}"#);
    let said = lab.fails(&install);
    let want =
        "hone: install docker: docker at ssh://u@lab: context lab names it, and it is no socket of this machine";
    assert!(said.starts_with(want), "{said}");
    assert!(!lab.path("daemon.json").exists() && !lab.root().exists());
    // Named, it is the user's own choice; and it can be taken back wherever docker goes.
    let named = [&["install", "docker=unix:///run/docker.sock"], &with[..]].concat();
    lab.ok(&named);
    assert_eq!(runtime(&lab.path("daemon.json"))["runtimeArgs"][3], "docker=unix:///run/docker.sock");
    lab.ok(&["uninstall", "docker", "--config", "home/../daemon.json", "--root", "home/../root"]);
    assert!(!lab.path("daemon.json").exists() && !lab.root().exists(), "all that install made is gone");
    // A user's own daemon reads the user's own file.
    let rootless = site(&[("DOCKER_HOST", "unix:///run/user/7/docker.sock")]);
    rootless.ok(&["install", "docker", "--runtime", "/bin/true"]);
    let config = rootless.path("home/.config/docker/daemon.json");
    assert_eq!(runtime(&config)["runtimeArgs"][3], "docker=unix:///run/user/7/docker.sock");
    rootless.ok(&["uninstall", "docker"]);
    assert!(!rootless.path("home").exists());
}

#[test]
fn podman_is_told_in_the_file_that_it_reads() {
    let mut ours = site(&[]);
    let conf = ours.write("mine.conf", "[engine]\nruntime = \"crun\"\n");
    ours.env("CONTAINERS_CONF", conf.display().to_string());
    let said = ours.ok(&["install", "podman", "--runtime", "/bin/true"]);
    assert!(said.contains("mine.conf") && said.contains("CONTAINERS_CONF"), "{said}");
    let text = fs::read_to_string(&conf).expect("configuration");
    assert!(text.starts_with("[engine]\nruntime = \"crun\"\n[engine.runtimes]"), "{text}");
    assert!(text.contains(&format!("hone = [\"{}/libexec/hone-podman\"]", ours.root().display())), "{text}");
    ours.ok(&["uninstall", "podman"]);
    assert_eq!(fs::read_to_string(&conf).expect("configuration"), "[engine]\nruntime = \"crun\"\n");
    assert!(!ours.root().exists());
}

#[test]
fn all_that_was_told_of_this_program_is_taken_back_and_no_other() {
    let site = site(&[]);
    let program = site.write("lib/hone-runtime", "");
    std::os::unix::fs::symlink(site.path("lib"), site.path("link")).expect("link");
    let (own, linked) = (program.display().to_string(), site.path("link/hone-runtime").display().to_string());
    let files = ["a.json", "own/daemon.json", "b.json"];
    for (file, program) in files.into_iter().zip([own.as_str(), &linked, "/bin/true"]) {
        let engine = if file == "a.json" { "docker=unix:///run/user/7/d.sock" } else { "docker=unix:///d.sock" };
        site.ok(&["install", engine, "--config", file, "--runtime", program]);
    }
    let uninstall = ["uninstall", "docker", "--all", "--runtime", &own];
    // One that cannot be read keeps no other from it, and is told.
    fs::write(site.path("own/daemon.json"), "{").expect("write");
    let said = site.fails(&uninstall);
    assert!(said.starts_with("hone: uninstall docker: ") && said.contains("own/daemon.json: not JSON"), "{said}");
    assert!(!site.path("a.json").exists());
    fs::remove_file(site.path("own/daemon.json")).expect("remove");
    site.ok(&["install", "docker=unix:///d.sock", "--config", "own/daemon.json", "--runtime", &linked]);
    site.ok(&["install", "docker=unix:///run/user/7/d.sock", "--config", "a.json", "--runtime", &own]);
    let said = site.ok(&uninstall);
    assert!(!site.path("a.json").exists() && !site.path("own").exists());
    assert!(said.contains("systemctl --user reload docker") && said.contains("systemctl reload docker"), "{said}");
    assert!(said.contains("it names /bin/true, of another installation"), "{said}");
    assert_eq!(runtime(&site.path("b.json"))["path"], "/bin/true");
    site.ok(&["uninstall", "docker", "--all", "--runtime", "/bin/true"]);
    assert!(!site.path("b.json").exists() && !site.root().exists());
}

#[test]
fn podman_s_launcher_goes_with_the_last_of_all() {
    let site = site(&[]);
    for file in ["a.conf", "b.conf"] {
        site.ok(&["install", "podman", "--config", file, "--runtime", "/bin/true"]);
    }
    let said = site.ok(&["uninstall", "podman", "--all", "--runtime", "/bin/false"]);
    assert_eq!(said.matches("it names /bin/true, of another installation").count(), 2, "{said}");
    let said = site.ok(&["uninstall", "podman", "--all", "--runtime", "/bin/true", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let changed = |at: usize| (said[at]["changed"].as_bool(), said[at]["next"].as_str());
    assert_eq!((changed(0), changed(1)), ((Some(true), Some("")), (Some(true), Some(""))));
    assert!(!site.path("a.conf").exists() && !site.root().exists());
}

#[test]
fn no_engine_s_configuration_is_in_a_store() {
    let site = site(&[]);
    drop(site.store().ingest().expect("store"));
    for engine in ["docker=unix:///d.sock", "podman"] {
        let said = site.fails(&["install", engine, "--runtime", "/bin/true", "--config", "root/index.json"]);
        assert!(said.contains("in Hone's store"), "{said}");
    }
    assert!(!site.root().join("index.json").exists());
}
