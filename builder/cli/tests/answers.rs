//! What verbs answer to programs and scripts: `--json`, `--format`, `-q`, `--filter`, `--debug` (docs/cli.md, "Output").

mod common;

use common::registry::Registry;
use common::{Site, exited};
use serde_json::Value;

/// `assistant:base`, its version `assistant:base-v1`, and `other:base`, the same image by another name.
fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    site.ok(&["tag", "assistant:base", "other:base"]);
    site
}

/// The verbs of `hone --help`, the ones below a verb by both words.
fn verbs(site: &Site) -> Vec<Vec<String>> {
    let listed = |args: &[&str]| -> Vec<String> {
        let help = site.ok(args);
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = commands.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
        names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    let mut all = Vec::new();
    for verb in listed(&["--help"]).into_iter().filter(|verb| verb != "help") {
        let below = listed(&[&verb, "--help"]);
        match below.is_empty() {
            true => all.push(vec![verb]),
            false => all.extend(below.into_iter().filter(|b| b != "help").map(|b| vec![verb.clone(), b])),
        }
    }
    all
}

#[test]
fn every_verb_answers_programs() {
    let site = Site::new();
    let verbs = verbs(&site);
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| verb[0] != "completion") {
        let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        assert!(site.ok(&words).contains("--json"), "{verb:?}");
    }
}

/// Keys are in snake_case; those below labels and annotations are somebody's own.
fn in_snake_case(value: &Value, verb: &str) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| in_snake_case(one, verb)),
        Value::Object(fields) => {
            for (key, value) in fields {
                assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{verb}: {key}");
                if !["labels", "annotations"].contains(&key.as_str()) {
                    in_snake_case(value, verb);
                }
            }
        }
        _ => {}
    }
}

fn answers(site: &Site, args: &[&str], keys: &[&str]) {
    let answer = site.json(args);
    in_snake_case(&answer, args[0]);
    for key in keys {
        assert!(answer.get(key).is_some(), "{args:?}: no {key} in {answer}");
    }
}

#[test]
fn answers_are_json_in_one_spelling() {
    let mut site = site();
    let registry = Registry::start();
    let name = format!("{}/a/b:c", registry.host);
    site.write("Modelfile", "FROM ./x.gguf\nTEMPLATE x\n");
    site.env("SOURCE_DATE_EPOCH", "0");
    site.stage("run2", "assistant:base", exited(0));
    site.stage("run3", "assistant:base", exited(3));
    let (modelfile, layout) =
        (site.path("Modelfile").display().to_string(), site.path("layout").display().to_string());
    for (args, keys) in [
        (&["images", "--json"][..], &[][..]),
        (&["inspect", "assistant:base-v1", "--json"], &["layers", "config", "base", "referrers"]),
        (&["log", "assistant:base", "--json"], &["lineage", "versions", "runs"]),
        (&["verify", "assistant:base", "--json"], &["ok", "problems", "blobs", "size"]),
        (&["push", "assistant:base", &name, "--json"], &["reference", "digest", "sent", "sent_bytes", "known"]),
        (&["pull", &name, "--json"], &["reference", "digest"]),
        (&["save", "assistant:base", "-o", &format!("oci:{layout}"), "--json"], &["reference", "digest", "output"]),
        (&["load", &format!("oci:{layout}"), "--json"], &["images", "left"]),
        (&["tag", "assistant:base", "third:base", "--json"], &["reference", "digest"]),
        (&["commit", "run2", "--json"], &["committed", "reference", "version", "config", "own_size"]),
        (&["promote", "assistant:base-v1", "--json"], &["lineage", "current"]),
        (&["promote", "assistant:base-v2", "--json"], &["lineage", "current"]),
        (&["rollback", "assistant:base", "--json"], &["lineage", "current"]),
        (&["staging", "ls", "--json"], &[]),
        (&["staging", "rm", "run3", "--json"], &["removed"]),
        (&["convert", &modelfile, "--json"], &["honefile", "notes", "output"]),
        (&["rm", "third:base", "--json"], &["removed", "freed"]),
        (&["prune", "--json"], &["freed", "size"]),
    ] {
        answers(&site, args, keys);
    }
}

#[test]
fn answers_of_what_is_in_registries_are_json() {
    let (site, registry) = (site(), Registry::start());
    let name = format!("{}/a/b:c", registry.host);
    site.ok(&["push", "-q", "assistant:base", &name]);
    let (there, layout) = (format!("docker://{name}"), format!("oci:{}:two", site.path("layout").display()));
    let auth = site.path("auth.json").display().to_string();
    for (args, keys) in [
        (&["load", &there, "--json"][..], &["images", "left"][..]),
        (&["inspect", &there, "--json"], &["layers", "config", "platforms"]),
        (&["copy", &there, &layout, "--json"], &["digest", "from", "to"]),
        (
            &["login", "-u", "me", "-p", "secret", "--authfile", &auth, "--json", &registry.host],
            &["registry", "username"],
        ),
        (&["login", "--get-login", "--authfile", &auth, "--json", &registry.host], &["registry", "username"]),
        (&["logout", "--authfile", &auth, "--json", &registry.host], &["removed"]),
    ] {
        answers(&site, args, keys);
    }
}

#[test]
fn a_list_is_told_as_docker_tells_it() {
    let site = site();
    let lines = |args: &[&str]| -> Vec<String> { site.ok(args).lines().map(str::to_owned).collect() };
    let names = |args: &[&str]| lines(&[&["images", "--format", "{{.Reference}}"], args].concat());
    assert_eq!(names(&[]), ["assistant:base", "assistant:base-v1", "other:base"]);
    for (args, want) in [
        (&["assistant"][..], &["assistant:base", "assistant:base-v1"][..]),
        (&["assistant:base"], &["assistant:base"]),
        (&["assis*"], &["assistant:base", "assistant:base-v1"]),
        (&["*:base"], &["assistant:base", "other:base"]),
        (&["nothing"], &[]),
        (&["--filter", "reference=*:base-v?"], &["assistant:base-v1"]),
        (&["-f", "reference=other", "-f", "reference=*:base-v1"], &["assistant:base-v1", "other:base"]),
        (&["-f", "lineage=assistant:base"], &["assistant:base", "assistant:base-v1"]),
        (&["-f", "label=dev.hone.version=1"], &["assistant:base-v1"]),
        (&["-f", "label=dev.hone.version", "-f", "reference=other"], &[]),
    ] {
        assert_eq!(names(args), want, "{args:?}");
    }
    let all = site.json(&["images", "--json"]);
    let digest = all[1]["digest"].as_str().expect("digest");
    assert_eq!(lines(&["images", "-q", "assistant:base-v1"]), [&digest["sha256:".len()..][..12]]);
    assert_eq!(lines(&["images", "-q", "--no-trunc", "assistant:base-v1"]), [digest]);
    assert!(site.ok(&["images", "--no-trunc"]).contains(digest));
    let rows = lines(&["images", "--format", "json"]);
    let rows: Vec<Value> = rows.iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(Value::from(rows), all);
    let table = lines(&["images", "--format", "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}", "other"]);
    assert_eq!(table[0], "REPOSITORY  TAG   ID");
    let config = all[0]["config"].as_str().expect("config");
    assert_eq!(table[1], format!("other       base  {}", &config["sha256:".len()..][..12]));
    assert_eq!(lines(&["inspect", "other:base", "-f", "{{.Config}}"]), [config]);
    assert_eq!(lines(&["log", "assistant:base", "-q"]), ["assistant:base-v1"]);
    assert_eq!(lines(&["log", "assistant:base", "--format", "{{.Version}} {{.State}}"]), ["1 candidate"]);
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let site = site();
    for (args, want) in [
        (&["images", "--format", "{{range .}}{{end}}"][..], "range"),
        (
            &["images", "--filter", "dangling=true"],
            "want reference=NAME[:TAG], label=KEY[=VALUE] or lineage=NAME:TAG",
        ),
        (&["images", "-q", "--json"], "cannot be used with"),
        (&["images", "--format", "{{.Nothing}}"], "no field .Nothing; there is .config"),
        (&["save", "assistant:base", "-o", "docker-archive:-", "--json"], "both want standard output"),
        (&["save", "assistant:base", "--json"], "both want standard output"),
        (&["copy", "assistant:base", "-", "--json"], "both want standard output"),
        (&["load", "-q", "--json"], "cannot be used with"),
    ] {
        let output = site.command(args).output().expect("start hone");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && said.contains(want), "{args:?}: {said}");
    }
}

#[test]
fn steps_are_told_on_standard_error_when_asked_for() {
    let mut site = site();
    let name = format!("{}/a/b:c", Registry::start().host);
    let stderr = |site: &Site, args: &[&str]| {
        let output = site.command(args).output().expect("start hone");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("debug"));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = stderr(&site, &["--debug", "push", "assistant:base", &name]);
    assert!(told.contains("hone: debug: hone_registry"), "{told}");
    let plain = stderr(&site, &["push", "assistant:base", &name]);
    assert!(!plain.contains("debug"), "{plain}");
    site.env("RUST_LOG", "hone_registry=debug");
    let told = stderr(&site, &["push", "assistant:base", &name]);
    assert!(told.contains("hone: debug: hone_registry"), "{told}");
}
