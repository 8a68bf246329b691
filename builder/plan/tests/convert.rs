//! Files of other tools that become Honefiles: each fixture whole, each mistake with its place, and nothing that panics.

use hone_contract::job::Finetune;
use hone_plan::convert::{Converted, Dialect, Options, aikit, detect, modelfile};
use hone_plan::{BuildPlan, ModelSource, parse};

const UNSLOTH: &str = include_str!("convert/unsloth.yaml");
const MINIMAL: &str = include_str!("convert/minimal.yaml");
const MARIO: &str = include_str!("convert/mario.Modelfile");
const LOCAL: &str = include_str!("convert/local.Modelfile");
const HUB: &str = include_str!("convert/hub.Modelfile");

fn convert(text: &str) -> Converted {
    let result = match detect(text).expect("a known format") {
        Dialect::Aikit => aikit(text, &Options::of("file")),
        Dialect::Modelfile => modelfile(text, &Options::of("file")),
    };
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn plan(text: &str) -> BuildPlan {
    let honefile = convert(text).honefile;
    parse("Honefile", &honefile).unwrap_or_else(|error| panic!("{error}\n{honefile}"))
}

fn finetune(text: &str) -> Finetune {
    plan(text).finetune.expect("finetune")
}

fn model(text: &str) -> ModelSource {
    plan(text).base.expect("base").model
}

/// `line what` of each note.
fn notes(text: &str) -> Vec<String> {
    convert(text).notes.iter().map(|note| format!("{} {}", note.line, note.what)).collect()
}

fn error(result: Result<Converted, hone_plan::HonefileError>) -> String {
    result.expect_err("a mistake").report(None, false)
}

#[test]
fn every_fixture_becomes_a_honefile_that_says_all_its_notes() {
    for text in [UNSLOTH, MINIMAL, MARIO, LOCAL, HUB] {
        let Converted { honefile, notes } = convert(text);
        assert!(parse("Honefile", &honefile).is_ok(), "{honefile}");
        assert!(!notes.is_empty());
        let words: String = honefile.split_whitespace().filter(|word| *word != "#").collect::<Vec<_>>().join(" ");
        for note in notes {
            let whole = note.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(&whole), "{whole}\n{honefile}");
            assert!(!note.way_out.is_empty() && note.line <= text.lines().count());
        }
    }
}

#[test]
fn a_fine_tune_of_aikit_is_carried_over() {
    let plan = plan(UNSLOTH);
    assert_eq!(plan.name, "helpdesk-model");
    assert_eq!(
        model(UNSLOTH),
        ModelSource::Hub { repository: "unsloth/SmolLM2-135M-Instruct".to_owned(), revision: None }
    );
    let f = plan.finetune.expect("finetune");
    assert_eq!((f.rank, f.alpha, f.targets.len()), (16, 16.0, 7));
    assert_eq!((f.steps, f.epochs, f.batch_size, f.gradient_accumulation), (Some(120), None, 8, 2));
    assert_eq!((f.learning_rate, f.schedule.as_str(), f.warmup), (0.0005, "cosine", 5));
    assert_eq!((f.max_length, f.seed, f.dataset.format.as_str()), (1024, 3407, "alpaca"));
    assert_eq!(
        notes(UNSLOTH),
        [
            "5 datasets.source: yahma/alpaca-cleaned",
            "9 config.unsloth.packing",
            "11 config.unsloth.loadIn4bit",
            "18 config.unsloth.optimizer: adamw_8bit",
            "19 config.unsloth.weightDecay: 0.01",
            "23 output.quantize: q4_k_m",
            "24 output.name",
        ]
    );
}

#[test]
fn what_aikit_leaves_out_is_aikits_default_and_not_hones() {
    let f = finetune(MINIMAL);
    assert_eq!((f.steps, f.batch_size, f.gradient_accumulation, f.warmup), (Some(60), 2, 4, 10));
    assert_eq!((f.learning_rate, f.schedule.as_str(), f.max_length, f.seed), (2e-4, "linear", 2048, 42));
    assert_eq!(plan(MINIMAL).name, "aikit-model");
    let with = |line: &str| MINIMAL.to_owned() + "    " + line + "\n";
    assert_eq!(finetune(&with("maxSteps: 0\n    seed: 0\n    learningRate: 0")), f);
    let whole = finetune(&with("maxSteps: -1"));
    assert_eq!((whole.steps, whole.epochs), (None, Some(3.0)));
    let constant = finetune(&with("{lrSchedulerType: constant, warmupSteps: 7}").replace("    {", "   {"));
    assert_eq!((constant.schedule.as_str(), constant.warmup), ("constant", 0));
    let root = finetune(&with("lrSchedulerType: inverse_sqrt"));
    assert_eq!((root.schedule.as_str(), root.warmup), ("constant", 10));
    assert!(notes(&with("lrSchedulerType: inverse_sqrt"))[3].starts_with("7 config.unsloth.lrSchedulerType"));
}

#[test]
fn a_modelfile_is_carried_over() {
    let registry = |name: &str| {
        let written = format!("registry.ollama.ai/library/{name}");
        ModelSource::Registry { name: written.parse().expect("a name"), written }
    };
    assert_eq!((plan(MARIO).name.as_str(), model(MARIO)), ("llama3.2", registry("llama3.2:1b")));
    let f = finetune(MARIO);
    assert_eq!((f.max_length, f.seed), (4096, 42));
    let system = "You are Mario: \"It's-a me\", acting as an assistant.";
    assert_eq!(f.dataset.system.as_deref(), Some(system));
    assert_eq!(
        notes(MARIO),
        [
            "3 PARAMETER temperature 1",
            "6 PARAMETER stop <|start header|>",
            "7 PARAMETER num_predict 128",
            "11 MESSAGE, 2 of them",
        ]
    );
    assert_eq!(model(LOCAL), ModelSource::Path("./models/Tiny_Chat.Q4_0.gguf".to_owned()));
    assert_eq!(plan(LOCAL).name, "tiny_chat.q4_0");
    assert_eq!(plan(LOCAL).base.expect("base").origin.licenses.as_deref(), Some("Apache-2.0"));
    let system = finetune(LOCAL).dataset.system;
    assert_eq!(system.as_deref(), Some("\nYou answer in one sentence.\n\n  - no lists\n"));
    assert_eq!(notes(LOCAL), ["1 FROM", "2 ADAPTER ./lora.gguf", "3 TEMPLATE", "15 REQUIRES"]);
    let repository = "bartowski/SmolLM2-135M-Instruct-GGUF".to_owned();
    assert_eq!(model(HUB), ModelSource::Hub { repository, revision: None });
    assert_eq!(finetune(HUB).dataset.system.as_deref(), Some("Be brief."));
}

#[test]
fn the_whole_text_of_a_small_one() {
    let text = "FROM tiny\nSYSTEM \"\"\"Be brief.\nBe kind.\"\"\"\nPARAMETER top_k 5\n";
    let want = "\
# Made by `hone convert` of a Modelfile. What it could not carry over is in comments.
apiVersion: hone.dev/v1
name: tiny
base:
  model: oci://registry.ollama.ai/library/tiny:latest
finetune:
  # line 4: PARAMETER top_k 5: an option of generation, and no part of training; nothing is to be done:
  # `generate` takes the likeliest token
  dataset:
    system: |-
      Be brief.
      Be kind.
";
    assert_eq!(convert(text).honefile, want);
    assert_eq!(
        convert("FROM tiny\n").honefile.lines().last(),
        Some("  model: oci://registry.ollama.ai/library/tiny:latest")
    );
}

#[test]
fn the_caller_knows_more() {
    let options = Options { name: Some("other"), exists: &|path| path == "tiny", ..Options::of("Modelfile") };
    let plan = parse("Honefile", &modelfile("FROM tiny\n", &options).unwrap().honefile).unwrap();
    assert_eq!((plan.name.as_str(), plan.base.unwrap().model), ("other", ModelSource::Path("tiny".to_owned())));
    let bad = Options { name: Some("Not A Name"), ..options };
    assert!(error(modelfile("FROM tiny\n", &bad)).contains("name: want at most 63"));
}

#[test]
fn formats_are_told_apart_by_their_first_words() {
    for (text, want) in [
        (UNSLOTH, Some(Dialect::Aikit)),
        ("---\n{apiVersion: v1alpha1}\n", Some(Dialect::Aikit)),
        ("\u{feff}# x\n\n  from x\n", Some(Dialect::Modelfile)),
        ("from: x\n", Some(Dialect::Aikit)),
        ("FROM\n", None),
        ("hello there\n", None),
        ("", None),
    ] {
        assert_eq!(detect(text), want, "{text}");
    }
}

/// A Modelfile's mistakes, and how what is said of them begins.
const MODELFILE_MISTAKES: &[(&str, &str)] = &[
    ("SYSTEM x\n", "M: there is no FROM: a Modelfile names its base model so"),
    (
        "FROM a\nSYTSEM x\n",
        "M:2:1: unknown instruction `SYTSEM`\n  |\n2 | SYTSEM x\n  | ^^^^^^\n  |\n  = help: did you mean `SYSTEM`? known: FROM, ",
    ),
    (
        "FROM a\nPARAMETER temprature 1\n",
        "M:2:11: unknown parameter `temprature`\n  |\n2 | PARAMETER temprature 1\n  |           ^^^^^^^^^^\n  |\n  = help: did you mean `temperature`?",
    ),
    ("FROM a\nPARAMETER stop\n", "M:2:15: PARAMETER: want a value after it"),
    ("FROM a\nPARAMETER\n", "M:2:10: want a parameter's name here"),
    (
        "FROM a\nPARAMETER num_ctx many\n",
        "M:2:11: PARAMETER num_ctx: want a whole number from 1 to 1048576, got `many`",
    ),
    ("FROM a\nMESSAGE user: hi\n", "M:2:13: MESSAGE: want a value after it"),
    ("FROM a\nMESSAGE usr hi\n", "M:2:9: MESSAGE: want system, user or assistant, got `usr`"),
    ("FROM a\nSYSTEM \"\"\"\nnever\n", "M:2:8: SYSTEM: the text that begins here never ends"),
    ("FROM a\nFROM b\n", "M:2:6: a second FROM; Hone takes one model"),
    ("FROM ~/m.gguf\n", "M:1:6: FROM: `~` is the shell's; write the directory out"),
    ("FROM A/B/C\n", "M:1:6: FROM: "),
    ("FROM a\nSYSTEM x\0y\n", "M:2:8: SYSTEM: want at most 65536 bytes without a NUL"),
    ("FROM a\n\u{e9}\u{e9} b\n", "M:2:1: unknown instruction `\u{e9}\u{e9}`\n  |\n2 | \u{e9}\u{e9} b\n  | ^^\n"),
];

/// Lines that replace one of AIKit's, and how what is said of them begins.
const AIKIT_MISTAKES: &[(&str, &str, &str)] = &[
    ("apiVersion: v1alpha1", "apiVersion: v1", "A:2:13: apiVersion: want v1alpha1, got `v1`"),
    ("baseModel: unsloth/SmolLM2-135M-Instruct", "baseModel: gpt2", "A:3:12: baseModel: want hf://ORG/NAME"),
    ("    type: alpaca", "    type: alpacca", "A:6:11: datasets.type: want alpaca, got `alpacca`"),
    (
        "    batchSize: 8",
        "    batchSize: two",
        "A:12:16: config.unsloth.batchSize: want a whole number from 0 to 1024",
    ),
    ("    batchSize: 8", "    batchsize: 8", "A:12:5: unknown key `batchsize`"),
    ("    packing: true", "    packing: 1", "A:9:14: config.unsloth.packing: want true or false, got `1`"),
    (
        "    learningRate: 0.0005",
        "    learningRate: 5",
        "A:16:19: config.unsloth.learningRate: want a number above 0",
    ),
    ("    weightDecay: 0.01", "    weightDecay: x", "A:19:18: config.unsloth.weightDecay: want a number from 0 to 1"),
    (
        "    lrSchedulerType: cosine",
        "    lrSchedulerType: cosin",
        "A:20:22: config.unsloth.lrSchedulerType: want one of",
    ),
    ("  - source: yahma/alpaca-cleaned\n    type: alpaca\n", "  []\n", "A: the key datasets is missing or empty"),
    ("output:", "models: []\noutput:", "A:22:1: unknown key `models`"),
];

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, want) in MODELFILE_MISTAKES {
        let said = error(modelfile(text, &Options::of("M")));
        assert!(said.starts_with(want), "{text:?}\n{said}\nwant {want}");
    }
    for (from, to, want) in AIKIT_MISTAKES {
        assert!(UNSLOTH.contains(from), "{from}");
        let said = error(aikit(&UNSLOTH.replacen(from, to, 1), &Options::of("A")));
        assert!(said.starts_with(want), "{to:?}\n{said}\nwant {want}");
    }
    let large = "#".repeat((1 << 20) + 1);
    let want = "A: it has 1048577 bytes, want at most 1048576";
    assert_eq!(error(aikit(&large, &Options::of("A"))), want);
    assert_eq!(error(modelfile(&large, &Options::of("A"))), want);
}

#[test]
fn whatever_is_cut_or_flipped_nothing_panics_and_what_converts_parses() {
    for text in [UNSLOTH, MINIMAL, MARIO, LOCAL, HUB] {
        let try_it = |text: &str| {
            for result in [aikit(text, &Options::of("f")), modelfile(text, &Options::of("f"))].into_iter().flatten() {
                assert!(parse("Honefile", &result.honefile).is_ok(), "{}", result.honefile);
            }
        };
        for i in 0..text.len() {
            if let Some(cut) = text.get(..i) {
                try_it(cut);
            }
            for flip in [1, 0x20, 0x80] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[i] ^= flip;
                try_it(&String::from_utf8_lossy(&bytes));
            }
        }
    }
}

#[test]
fn words_of_the_file_are_shown_escaped_and_cut() {
    let long = format!("\u{1b}[2J{}", "n".repeat(100_000));
    let plain = |said: &str| !said.contains(|c: char| c.is_control() && c != '\n') && said.len() < 4000;
    for text in [
        format!("{long} x\n"),
        format!("FROM a\nPARAMETER {} 1\n", "n".repeat(100_000)),
        format!("FROM a\nPARAMETER num_ctx {long}\n"),
        format!("FROM a\nMESSAGE {} x\n", "n".repeat(100_000)),
        format!("FROM {long}\n"),
        format!("FROM hf.co/{long}\n"),
    ] {
        let said = error(modelfile(&text, &Options::of("M")));
        assert!(plain(&said), "{said:.400}");
    }
    for (from, to) in [
        ("apiVersion: v1alpha1", "apiVersion: "),
        ("baseModel: unsloth/SmolLM2-135M-Instruct", "baseModel: "),
        ("    type: alpaca", "    type: "),
        ("    lrSchedulerType: cosine", "    lrSchedulerType: "),
        ("    packing: true", "    packing: "),
    ] {
        let text = UNSLOTH.replacen(from, &format!("{to}\"\\e[2J{}\"", "n".repeat(100_000)), 1);
        let said = error(aikit(&text, &Options::of("A")));
        assert!(plain(&said), "{said:.400}");
    }
    let carried = convert(&format!("FROM a\nADAPTER {long}\nPARAMETER stop {long}\n"));
    assert_eq!(carried.notes.len(), 2);
    for note in &carried.notes {
        assert!(plain(&note.to_string()), "{note:.400}");
    }
    assert!(!carried.honefile.contains('\u{1b}') && carried.honefile.len() < 2000);
}

#[test]
fn a_licence_is_one_where_a_bill_of_materials_reads_one() {
    let of = |license: &str| plan(&format!("FROM a\nLICENSE {license}\n")).base.expect("base").origin.licenses;
    for (written, want) in [
        ("apache-2.0", "Apache-2.0"),
        ("Apache-2.0/MIT", "Apache-2.0 OR MIT"),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", "(MIT OR Apache-2.0) AND Unicode-3.0"),
    ] {
        assert_eq!(of(written).as_deref(), Some(want), "{written}");
        assert!(notes(&format!("FROM a\nLICENSE {written}\n")).is_empty(), "{written}");
    }
    for text in ["see AND that", "llama3.2", "MIT OR", "the MIT licence"] {
        assert_eq!(of(text), None, "{text}");
        assert_eq!(notes(&format!("FROM a\nLICENSE {text}\n")), ["2 LICENSE"], "{text}");
    }
}

#[test]
fn many_instructions_stay_one_note_each() {
    let mut text = "FROM a\n".to_owned();
    for i in 0..15_000 {
        text.push_str(&format!("PARAMETER stop x{i}\nMESSAGE user {i}\nLICENSE {i} x\n"));
    }
    assert_eq!(notes(&text).len(), 3);
}
