//! `hone push` and `hone pull`: what they name, there and here, and what they say of their steps.

mod common;

use common::Site;
use common::registry::Registry;
use serde_json::Value;

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

/// The objects that a verb with `--progress json` wrote to standard error.
fn events(site: &Site, args: &[&str]) -> Vec<Value> {
    let output = site.command(args).output().expect("start hone");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{args:?}: {said}");
    said.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn a_digest_in_an_event_is_a_digest() {
    let (site, registry) = (site(), Registry::start());
    let name = format!("{}/a/assistant:base", registry.host);
    let pull = Site::new();
    let push = ["push", "--progress", "json", "assistant:base", &name];
    let mut all = events(&site, &push);
    let again = events(&site, &push);
    let said = |events: &[Value], note: &str| events.iter().filter(|e| e["note"] == note).count();
    assert!(
        said(&all, "pushed") > 0 && said(&again, "pushed") == 0 && said(&again, "exists already") > 0,
        "{again:?}"
    );
    all.extend(again);
    all.extend(events(&pull, &["pull", "--progress", "json", &name]));
    all.extend(events(&site, &["build", "--progress", "json", "-t", "x:y", "-o", "oci:out"]));
    let ends: Vec<&Value> = all.iter().filter(|event| event["event"] == "end").collect();
    for event in &ends {
        match &event["digest"] {
            Value::Null => assert!(event["note"].is_string(), "{event}"),
            digest => assert!(digest.as_str().is_some_and(|d| d.len() == 71 && d.starts_with("sha256:")), "{event}"),
        }
    }
    assert!(ends.iter().filter(|event| event["digest"].is_string()).count() > 5, "{ends:?}");
}

#[test]
fn a_digest_moves_no_name() {
    let (site, registry) = (site(), Registry::start());
    let name = format!("{}/a/assistant", registry.host);
    let old = site.ok(&["push", "-q", "assistant:base", &format!("{name}:old")]).trim().to_owned();
    site.ok(&["build", ".", "-t", "assistant:base", "--created", "1"]);
    let new = site.ok(&["push", "-q", "assistant:base", &format!("{name}:latest")]).trim().to_owned();
    assert_ne!(old, new);
    let device = Site::new();
    device.ok(&["pull", &name]);
    let stands_for =
        |device: &Site, name: &str| device.json(&["inspect", "--json", name])["digest"].as_str().map(str::to_owned);
    for pinned in [format!("{name}@{old}"), format!("{name}:latest@{old}")] {
        let said = device.ok(&["pull", &pinned]);
        let own = format!("{name}:sha256-{}", &old["sha256:".len()..][..32]);
        let names = device.ok(&["images"]);
        assert_eq!(
            stands_for(&device, &format!("{name}:latest")).as_deref(),
            Some(new.as_str()),
            "{pinned}: {names}"
        );
        assert_eq!(said, format!("{own} {old}\n"));
        // It is found as it was pulled, and kept.
        device.ok(&["prune"]);
        assert!(device.ok(&["verify", &pinned]).contains(": ok ("));
        assert!(names.contains(&own), "{names}");
        // A Honefile's trainer by that name is taken from here.
        let before = registry.state().seen.len();
        device.write("Honefile", format!("apiVersion: hone.dev/v1\nname: own\ntrainer: {{image: \"{pinned}\"}}\n"));
        device.ok(&["build", "-t", "own:base"]);
        assert_eq!(registry.state().seen.len(), before, "the registry is not asked");
        device.ok(&["rm", &pinned]);
    }
    // Twins: -t says which name; and a name that has it already is enough.
    device.ok(&["pull", &format!("{name}@{old}"), "-t", "mine:old"]);
    assert_eq!(stands_for(&device, "mine:old").as_deref(), Some(old.as_str()));
    let fresh = Site::new();
    fresh.ok(&["pull", &format!("{name}:old")]);
    assert_eq!(fresh.ok(&["pull", &format!("{name}@{old}")]), format!("{name} {old}\n"));
    assert_eq!(fresh.json(&["images", "--json"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_tag_without_room_for_modelpack_is_pushed_without_it_and_says_so_first() {
    let (site, registry) = (site(), Registry::start());
    for (length, model) in [(117, true), (118, true), (119, false), (128, false)] {
        let tag = "t".repeat(length);
        let name = format!("{}/a/n{length}:{tag}", registry.host);
        let output = site.command(&["push", "--progress", "plain", "assistant:base", &name]).output().expect("hone");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let want = if model { vec![tag.clone(), format!("{tag}-modelpack")] } else { vec![tag.clone()] };
        assert_eq!(registry.tags(&format!("a/n{length}")), want);
        assert_eq!(
            said.lines().next().is_some_and(|line| line.contains("no tag of the model's own")),
            !model,
            "{said}"
        );
        // A layout has the same names.
        site.ok(&["tag", "assistant:base", &format!("long:{tag}")]);
        site.ok(&["save", &format!("long:{tag}"), "-o", &format!("oci:out{length}")]);
    }
}
