//! Honefiles that are right, with every default; and mistakes, each with its whole message.

use hone_contract::job::Resources;
use hone_image::transport::Place;
use hone_plan::{BuildPlan, ModelSource, TrainerPlan, TrainerSource, parse};

const LEAST: &str = "apiVersion: hone.dev/v1\nname: assistant\nbase:\n  model: m.gguf\n";

fn plan(text: &str) -> BuildPlan {
    parse("Honefile", text).unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    parse("Honefile", text).expect_err("a mistake").report(None, false)
}

#[test]
fn the_least_honefile_has_every_default() {
    let plan = plan(LEAST);
    assert_eq!(plan.trainer, TrainerPlan::BuiltIn("onnx".to_owned()));
    assert_eq!((plan.adapter.commit, plan.adapter.tag.as_str()), (true, "{tag}-v{n}"));
    assert_eq!(plan.resources, Resources::default());
    let f = plan.finetune.expect("finetune");
    assert_eq!((f.method.as_str(), f.rank, f.alpha), ("lora", 8, 16.0));
    assert_eq!(f.targets, ["q_proj", "k_proj", "v_proj", "o_proj"]);
    assert_eq!((f.dataset.format.as_str(), f.schedule.as_str()), ("chat", "linear"));
    assert_eq!((f.steps, f.epochs), (None, Some(3.0)));
    assert_eq!((f.batch_size, f.gradient_accumulation, f.learning_rate), (1, 4, 2e-4));
    assert_eq!((f.warmup, f.max_length, f.seed), (0, 512, 0));
}

#[test]
fn the_defaults_are_those_that_the_documentation_gives() {
    let page = include_str!("../../../docs/honefile.md");
    for (key, default) in [
        ("finetune.rank", "8"),
        ("finetune.alpha", "2 x rank"),
        ("finetune.targets", "[q_proj, k_proj, v_proj, o_proj]"),
        ("finetune.dataset.format", "chat"),
        ("finetune.epochs", "3"),
        ("finetune.batch_size", "1"),
        ("finetune.gradient_accumulation", "4"),
        ("finetune.learning_rate", "2e-4"),
        ("finetune.schedule", "linear"),
        ("finetune.warmup", "0"),
        ("finetune.max_length", "512"),
        ("finetune.seed", "0"),
        ("adapter.tag", "{tag}-v{n}"),
    ] {
        let row =
            page.lines().find(|l| l.starts_with(&format!("| `{key}` |"))).unwrap_or_else(|| panic!("no row {key}"));
        assert!(row.contains(&format!("| {default} |")) || row.contains(&format!("| `{default}` |")), "{row}");
    }
}

#[test]
fn everything_can_be_said() {
    let plan = plan(
        "apiVersion: hone.dev/v1\nname: a.b-c_d1\nbase: {model: dir, tokenizer: tok.json}\n\
         trainer: {rootfs: ./root, command: [python, x.py], workdir: /app, env: {A: '1', B: two}, user: 1000}\n\
         finetune:\n  method: lora\n  rank: 4\n  alpha: 3.5\n  targets: [anything.goes]\n  dataset: {format: alpaca}\n  \
         steps: 1_000\n  batch_size: 2\n  gradient_accumulation: 1\n  learning_rate: 1e-3\n  schedule: cosine\n  \
         warmup: 5\n  max_length: 64\n  seed: 18446744073709551615\n\
         resources: {cpu: '1.5', memory: 512M, pids: 64}\nadapter: {commit: false, tag: 'v{n}'}\n",
    );
    let TrainerPlan::Own(own) = plan.trainer else { panic!("a trainer of one's own") };
    assert_eq!(own.from, TrainerSource::Rootfs("./root".into()));
    assert_eq!(own.env, ["A=1", "B=two"]);
    assert_eq!((own.user.as_deref(), own.workdir.as_deref()), (Some("1000"), Some("/app")));
    let f = plan.finetune.expect("finetune");
    assert_eq!((f.steps, f.epochs, f.seed, f.alpha), (Some(1000), None, u64::MAX, 3.5));
    assert_eq!(plan.resources, Resources { cpu: Some(1.5), memory: Some(512 << 20), pids: Some(64) });
    assert!(!plan.adapter.commit);
}

#[test]
fn a_model_may_be_anywhere() {
    let base = |keys: &str| {
        plan(&format!("apiVersion: hone.dev/v1\nname: a\nbase: {{{keys}}}\ntrainer: none\n")).base.expect("base")
    };
    let hex = "ab".repeat(32);
    let url = base(&format!("model: 'https://host/m.gguf', sha256: {hex}, license: MIT, revision: v1, source: s"));
    let ModelSource::Url { name, sha256, .. } = &url.model else { panic!("{url:?}") };
    assert_eq!((name.as_str(), sha256.hex()), ("m.gguf", hex.clone()));
    assert_eq!((url.origin.licenses.as_deref(), url.origin.revision.as_deref()), (Some("MIT"), Some("v1")));
    let hub = base("model: 'hf://org/name@main'").model;
    assert_eq!(hub, ModelSource::Hub { repository: "org/name".into(), revision: Some("main".into()) });
    assert_eq!(
        base("model: 'oci:dir:tag'").model,
        ModelSource::Layout(Place { dir: "dir".into(), tag: Some("tag".into()) })
    );
    let lost = format!("apiVersion: hone.dev/v1\nname: a\nbase: {{model: m.gguf, sha256: {hex}}}\n");
    assert!(error(&lost).contains("base.sha256: it goes with an http or https address only"));
    let unsure = "apiVersion: hone.dev/v1\nname: a\nbase: {model: 'http://host/m.gguf'}\n";
    assert!(error(unsure).contains("3:15: base.model: an http address needs base.sha256"), "{}", error(unsure));
}

#[test]
fn platforms_and_trainers_of_all_kinds() {
    let text = |more: &str| format!("{LEAST}{more}\n");
    let platforms = plan(&text("platforms: [linux/amd64, linux/arm/v7]")).platforms;
    assert_eq!(platforms.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/amd64", "linux/arm/v7"]);
    let from = |more: &str| match plan(&text(more)).trainer {
        TrainerPlan::Own(own) => own.from,
        other => panic!("{other:?}"),
    };
    assert_eq!(from("trainer: {image: 'r.io/t:1'}"), TrainerSource::Image("r.io/t:1".parse().expect("a name")));
    assert_eq!(
        from("trainer: {layout: 'oci:d:t'}"),
        TrainerSource::Layout(Place { dir: "d".into(), tag: Some("t".into()) })
    );
}

#[test]
fn a_system_message_is_text_of_any_lines() {
    let with = |system: &str| format!("{LEAST}finetune: {{dataset: {{system: {system}}}}}\n");
    let system = |text: &str| plan(text).finetune.expect("finetune").dataset.system;
    assert_eq!(system(LEAST), None);
    assert_eq!(system(&with("\"Be\\nbrief: \\\"so\\\".\"")).as_deref(), Some("Be\nbrief: \"so\"."));
    assert_eq!(
        system(&format!("{LEAST}finetune:\n  dataset:\n    system: |\n      Be\n      brief.\n")).as_deref(),
        Some("Be\nbrief.\n")
    );
    assert_eq!(system(&with(&"x".repeat(64 << 10))).map(|s| s.len()), Some(64 << 10));
    assert!(error(&with(&"x".repeat((64 << 10) + 1))).contains("system: want at most 65536 bytes, got 65537"));
    assert!(error(&with("\"a\\0b\"")).contains("finetune.dataset.system: it cannot hold a NUL"));
    assert!(error(&with("''")).contains("finetune.dataset.system: want a system message"));
    let text = format!("{LEAST}finetune: {{dataset: {{format: text, system: a}}}}\n");
    assert!(
        error(&text).contains("5:44: finetune.dataset.system: data of format text has no chats"),
        "{}",
        error(&text)
    );
}

#[test]
fn a_model_only_image_and_a_trainer_without_a_model_are_possible() {
    assert_eq!(plan(&format!("{LEAST}trainer: none\n")).finetune, None);
    let own = "apiVersion: hone.dev/v1\nname: a\ntrainer: {rootfs: r, command: [x]}\n";
    assert_eq!((plan(own).base, plan(own).finetune), (None, None));
}

#[test]
fn an_unknown_key_names_the_known_ones_and_the_nearest() {
    assert_eq!(
        error(&format!("{LEAST}resources:\n  memroy: 1G\n")),
        "Honefile:6:3: unknown key `memroy`\n  |\n6 |   memroy: 1G\n  |   ^^^^^^\n  |\n  \
         = help: did you mean `memory`? known keys here: cpu, memory, pids"
    );
    let far = error("kind: Model\n");
    assert!(far.starts_with("Honefile:1:1: unknown key `kind`\n"), "{far}");
    assert!(far.contains("  = help: known keys here: apiVersion, name, base, trainer, "), "{far}");
    let inner = error("apiVersion: hone.dev/v1\nname: a\ntrainer:\n  rootfs: r\n  comand: [x]\n");
    assert!(inner.contains("\n5 |   comand: [x]\n  |   ^^^^^^\n  |\n  = help: did you mean `command`?"), "{inner}");
}

#[test]
fn a_caret_stands_under_what_it_means_in_any_script() {
    assert_eq!(
        error("apiVersion: hone.dev/v1\nname: \"h\u{e9}llo\"\n"),
        "Honefile:2:7: name: want at most 63 lower case letters and digits, joined by single . _ or -, \
         got `h\u{e9}llo`\n  |\n2 | name: \"h\u{e9}llo\"\n  |       ^^^^^^^"
    );
}

#[test]
fn a_line_is_shown_escaped_and_cut_and_its_caret_stands_where_it_should() {
    // What the caret stands under, in a line of any length.
    let meant = |text: &str| {
        let said = error(text);
        assert!(!said.contains(|c: char| c.is_control() && c != '\n') && said.len() < 3000, "{} bytes", said.len());
        let lines: Vec<&str> = said.lines().collect();
        let at = lines[3].find('^').expect("a caret");
        let width = lines[3].chars().filter(|c| *c == '^').count();
        lines[2].chars().skip(at).take(width).collect::<String>()
    };
    let least = |value: &str| format!("apiVersion: hone.dev/v1\nname: a\nbase: {{model: m}}\n{value}\n");
    assert_eq!(meant(&least("finetune: {method: x\u{85}y}")), r"x\u{85}y");
    assert_eq!(meant(&least("finetune: {dataset: {system: \"\u{202e}a\"}, rank: bad}")), "bad");
    let long = "n".repeat(300_000);
    assert_eq!(meant(&least(&format!("finetune: {{dataset: {{system: {long}}}, rank: bad}}"))), "bad");
    assert_eq!(meant(&least(&format!("finetune: {{rank: bad, dataset: {{system: {long}}}}}"))), "bad");
}

#[test]
fn colours_are_all_that_a_terminal_is_given_beside_the_text() {
    let text = format!("{LEAST}trainer: \"no\u{202e}ne\"\nresources: {{}}\n");
    let mistake = parse("\u{1b}[2JHonefile", &text).expect_err("a mistake");
    let (plain, styled) = (mistake.report(Some("hone"), false), mistake.report(Some("hone"), true));
    assert!(plain.starts_with("hone: \\u{1b}[2JHonefile:5:10: trainer: want onnx, none, "), "{plain}");
    let mut told = Vec::new();
    hone_contract::tell_styled(&mut told, &styled);
    let told = String::from_utf8(told).expect("UTF-8");
    let mut parts = told.split("\u{1b}[");
    let mut bare = parts.next().expect("a beginning").to_owned();
    for part in parts {
        let (style, text) = part.split_once('m').expect("the end of a style");
        assert!(style.chars().all(|c| c.is_ascii_digit() || c == ';'), "{style:?}");
        bare.push_str(text);
    }
    assert_ne!(told, bare, "a terminal shows colours");
    assert_eq!(bare, format!("{plain}\n"));
}

#[test]
fn what_a_mistake_repeats_is_escaped_and_cut() {
    let least = |value: &str| format!("apiVersion: hone.dev/v1\nname: a\nbase: {{model: m}}\n{value}\n");
    let long = "n".repeat(300_000);
    for text in [
        least(&format!("{long}: 1")),
        least(&format!("finetune: {{{long}: 1}}")),
        least(&format!("finetune: {{schedule: {long}}}")),
        least(&format!("finetune: {{rank: {long}}}")),
        least(&format!("finetune: {{targets: [{long}]}}")),
        least(&format!("trainer: {long}")),
        least(&format!("trainer: {{image: '{long}'}}")),
        least(&format!("trainer: {{rootfs: r, command: [x], workdir: {long}}}")),
        least(&format!("trainer: {{rootfs: r, command: [x], user: '{long}'}}")),
        least(&format!("trainer: {{rootfs: r, command: [x], env: {{-{long}: b}}}}")),
        least(&format!("platforms: ['{long}']")),
        least(&format!("platforms: ['linux/{long}', 'linux/{long}']")),
        least(&format!("resources: {{memory: {long}}}")),
        least(&format!("adapter: {{{long}: 1}}")),
        least(&format!("x: *{long}")),
        format!("apiVersion: {long}\n"),
        format!("apiVersion: hone.dev/v1\nname: {long}\n"),
        format!("apiVersion: hone.dev/v1\nname: a\nbase: {{model: '{long}://x'}}\n"),
        format!("apiVersion: hone.dev/v1\nname: a\nbase: {{model: 'https://a/b', sha256: {long}}}\n"),
    ] {
        let said = error(&text);
        assert!(said.len() < 3000, "{} bytes: {said:.300}", said.len());
    }
    for text in ["\u{1b}]0;x\u{7}: 1", "name: \"\\e[2J\"", "base: {\"\\e[31m\": 1}", "base: {model: \"\\e://x\"}"] {
        let said = error(&format!("apiVersion: hone.dev/v1\n{text}\n"));
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    }
}

#[test]
fn links_are_followed_when_that_is_asked_for() {
    let base = |keys: &str| format!("apiVersion: hone.dev/v1\nname: a\nbase: {{{keys}}}\ntrainer: none\n");
    let followed = |keys: &str| plan(&base(keys)).base.expect("base").follow_links;
    assert!(!followed("model: m") && !followed("model: m, follow_links: false"));
    assert!(followed("model: m, follow_links: true"));
    assert!(followed("model: 'hf://o/m', tokenizer: t, follow_links: true"));
    let said = error(&base("model: 'hf://o/m', follow_links: true"));
    assert!(said.contains("base.follow_links: it goes with a path only"), "{said}");
    assert!(error(&base("model: m, follow_links: maybe")).contains("base.follow_links: want one of true, false"));
}

/// Each mistake, and the first line of what is said of it.
const MISTAKES: &[(&str, &str)] = &[
    ("finetune: {rank: x}", "6:18: finetune.rank: want a whole number from 1 to 1024, got `x`"),
    ("finetune: {rank: 0}", "6:18: finetune.rank: want a whole number from 1 to 1024, got `0`"),
    ("finetune: {rank: 1.5}", "6:18: finetune.rank: want a whole number from 1 to 1024, got `1.5`"),
    ("finetune: {rank: [1]}", "6:18: want one value here"),
    ("finetune: 3", "6:11: want keys with values here"),
    ("finetune: {targets: q_proj}", "6:21: want a list here, like [a, b]"),
    ("finetune: {alpha: .nan}", "6:19: finetune.alpha: want a number above 0, at most 65536, got `.nan`"),
    ("finetune: {learning_rate: 2}", "6:27: finetune.learning_rate: want a number above 0, at most 1, got `2`"),
    ("finetune: {method: full}", "6:20: finetune.method: want lora, got `full`"),
    ("finetune: {schedule: cosin}", "6:22: finetune.schedule: want one of constant, linear, cosine, got `cosin`"),
    (
        "finetune: {targets: []}",
        "6:21: finetune.targets: want at least one of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
    ),
    ("finetune: {targets: [q_proj, q_proj]}", "6:30: finetune.targets: `q_proj` is there twice"),
    ("finetune: {steps: 1, epochs: 2}", "6:30: finetune.epochs: give steps or epochs, not both"),
    (
        "finetune: {dataset: {format: csv}}",
        "6:30: finetune.dataset.format: want one of text, chat, alpaca, got `csv`",
    ),
    ("trainer: onx", "6:10: trainer: want onnx, none, or a mapping with rootfs, image or layout, got `onx`"),
    ("trainer: {rootfs: r, image: x}", "6:10: trainer: want one of the keys rootfs, image and layout"),
    ("trainer: {image: X}", "6:18: trainer.image: image reference \"X\": a name is written in lower case"),
    ("platforms: []", "6:12: platforms: want at least one, e.g. linux/arm64"),
    ("platforms: [linux/arm64, linux/arm64/v8]", "6:26: platforms: linux/arm64 is there twice"),
    ("platforms: [linux/x86_64]", "6:13: platforms: want linux/amd64, as Go names it"),
    ("trainer: {rootfs: r}", "6:10: trainer: the key command is missing; it lists what trains"),
    ("trainer: {rootfs: r, command: []}", "6:31: trainer.command: want a program and its arguments"),
    (
        "trainer: {rootfs: r, command: [x], env: {1A: b}}",
        "6:42: trainer.env: want a name of letters, digits and _, got `1A`",
    ),
    (
        "trainer: {rootfs: r, command: [x], user: a:b:c}",
        "6:42: trainer.user: want a user, a uid, or uid:gid, got `a:b:c`",
    ),
    ("trainer: {rootfs: r, command: [x], workdir: app}", "6:45: trainer.workdir: want an absolute path, got `app`"),
    (
        "resources: {memory: 12X}",
        "6:21: resources.memory: want a size such as 512M or 1.5G, at least 4194304 bytes, got `12X`",
    ),
    ("resources: {cpu: 0}", "6:18: resources.cpu: want a number above 0, at most 4096, got `0`"),
    ("resources: {pids: -1}", "6:19: resources.pids: want a whole number from 1 to 4194304, got `-1`"),
    (
        "adapter: {tag: latest}",
        "6:16: adapter.tag: want `{n}` in it, the version number: each version has a tag of its own",
    ),
    ("adapter: {tag: 'a b{n}'}", "6:16: adapter.tag: want letters, digits and . _ - around `{tag}` and `{n}`"),
    ("adapter: {commit: maybe}", "6:19: adapter.commit: want one of true, false, got `maybe`"),
    ("name: again", "6:1: duplicate mapping key `name` is not allowed here"),
    ("---\nname: b", "7:1: only single YAML document expected but multiple found"),
];

#[test]
fn each_mistake_has_its_place_and_its_words() {
    for (text, want) in MISTAKES {
        let said = error(&format!("# a comment\n{LEAST}{text}\n"));
        assert_eq!(said.lines().next(), Some(format!("Honefile:{want}").as_str()), "{text}\n{said}");
    }
}

#[test]
fn what_is_missing_is_named_with_an_example() {
    assert_eq!(error("name: a\n"), "Honefile: the key apiVersion is missing; write `apiVersion: hone.dev/v1`");
    assert_eq!(
        error("apiVersion: hone.dev/v1\n"),
        "Honefile: the key name is missing; it names the model, e.g. `name: assistant`"
    );
    assert_eq!(
        error("apiVersion: hone.dev/v1\nname: a\n"),
        "Honefile: the key base.model is missing; it names a weight file or a directory"
    );
    let other = error("apiVersion: hone.dev/v2\nname: a\n");
    assert!(other.starts_with("Honefile:1:13: apiVersion: want hone.dev/v1, got `hone.dev/v2`\n"), "{other}");
    assert!(error("").starts_with("Honefile:"), "{}", error(""));
    let both = error(&format!("{LEAST}trainer: none\nfinetune: {{rank: 3}}\n"));
    assert!(both.starts_with("Honefile:6:11: finetune: there is nothing to set when trainer is none\n"), "{both}");
}

#[test]
fn no_text_makes_it_panic_and_none_is_believed_without_bounds() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb =
        "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c]\n";
    for text in ["\u{0}", "\t- :", "'", "%YAML 9", "a: !!binary x", "? [a]\n: b", &deep, bomb, "name: *x", "\u{feff}"]
    {
        let said = error(text);
        assert!(said.len() < 2_000_000, "a message of {} bytes", said.len());
    }
    let large = format!("{LEAST}#{}\n", "x".repeat(1 << 20));
    assert_eq!(error(&large), format!("Honefile: it has {} bytes, want at most 1048576", large.len()));
    // Seeded nonsense made of the file's own pieces.
    let pieces =
        ["name", ":", " ", "\n", "  ", "base", "{", "}", "[", "]", "&a", "*a", "'", "\"", "-", "#", "|", "\t", "1"];
    let mut state = 7u32;
    for _ in 0..3000 {
        let mut text = String::from(LEAST);
        for _ in 0..12 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(pieces[(state >> 16) as usize % pieces.len()]);
        }
        let _ = parse("Honefile", &text);
    }
}
