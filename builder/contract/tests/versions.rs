//! Jobs of other versions of Hone than this one: recorded, of tomorrow, and of a day that this one is not fit for.

use hone_contract::job::{Job, UNDERSTOOD};
use hone_contract::run::{Engine, RunRecord};
use hone_contract::unknown::{MOST_UNKNOWN, MOST_UNKNOWN_BYTES, MOST_UNKNOWN_DEPTH};
use serde_json::{Value, json};

/// The job of an image that `hone build` made when contract 1 was new.
const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/contract/v1/job.json");

/// The recorded job with more in it.
fn with(edit: impl FnOnce(&mut Value)) -> Value {
    let mut job = serde_json::from_slice(RECORDED).expect("JSON");
    edit(&mut job);
    job
}

fn parse(job: &Value) -> Result<Job, String> {
    Job::parse(job.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn run_of(job: Job) -> RunRecord {
    RunRecord { id: "r".to_owned(), engine: Engine::None, image: None, job }
}

#[test]
fn a_recorded_job_is_read_and_written_as_it_was() {
    let job = Job::parse(RECORDED).expect("a job of contract 1");
    assert!(job.trains(&["/bin/train".to_owned(), "all".to_owned()]));
    assert_eq!(job.to_bytes(), RECORDED);
    assert_eq!(job.note(), None);
}

#[test]
fn keys_of_tomorrow_are_kept_and_named() {
    let tomorrow = with(|job| {
        job["later"] = json!({"deep": [1, null, {"x": 2.5}]});
        job["finetune"]["packing"] = json!(true);
        job["finetune"]["dataset"]["split"] = json!("train");
        job["base"]["files"][1]["mirror"] = json!("here");
        job["rows"] = Value::Null;
    });
    let job = parse(&tomorrow).expect("a job of tomorrow");
    assert_eq!((job.finetune.as_ref().expect("finetune").rank, job.resources.pids), (2, Some(64)));
    assert_eq!(
        job.note().as_deref(),
        Some(
            "/hone/job.json has \"base.files.1.mirror\", \"finetune.dataset.split\", \"finetune.packing\", \
             \"later\", \"rows\", not known to this program: kept, and not followed"
        )
    );
    let written = job.to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), tomorrow);
    assert_eq!(Job::parse(&written).expect("what we wrote"), job);
    // As the runtime hands it to the keeper and the commit.
    let run = run_of(job);
    let text = serde_json::to_string(&run).expect("JSON");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["job"], tomorrow);
    assert_eq!(serde_json::from_str::<RunRecord>(&text).expect("a run record"), run);
}

#[test]
fn what_is_required_and_not_known_is_refused_by_name() {
    assert!(!UNDERSTOOD.contains(&"finetune.packing"));
    let required = with(|job| {
        job["requires"] = json!(["finetune.packing", "a\u{1b}[2Jb"]);
        job["finetune"]["packing"] = json!({"rows": 4});
    });
    let want = "read job: it requires \"finetune.packing\", \"a\\u{1b}[2Jb\", not known to this program: update hone";
    assert_eq!(parse(&required).expect_err("refused"), want);
    let mut run = serde_json::to_value(run_of(Job::parse(RECORDED).expect("a job"))).expect("JSON");
    run["job"] = required;
    let said = serde_json::from_value::<RunRecord>(run).expect_err("refused").to_string();
    assert_eq!(said, want);
    // Told before anything else that has changed by then.
    let changed = with(|job| {
        job["requires"] = json!(["x"]);
        job["finetune"] = json!("as the day before");
    });
    assert_eq!(
        parse(&changed).expect_err("refused"),
        "read job: it requires \"x\", not known to this program: update hone"
    );
    let nothing = with(|job| job["requires"] = json!([]));
    assert_eq!(parse(&nothing).expect("requires nothing").to_bytes(), RECORDED);
    let many = with(|job| job["requires"] = json!(vec!["x"; 5000]));
    assert!(
        parse(&many).expect_err("refused").ends_with("\"x\" and 4992 more, not known to this program: update hone")
    );
}

#[test]
fn a_later_contract_is_refused_and_says_what_to_do() {
    let later = with(|job| job["contract"] = json!(2));
    let want = "read job: contract 2, this program knows 1: update hone";
    assert_eq!(parse(&later).expect_err("refused"), want);
}

#[test]
fn unknown_keys_are_bounded_and_known_ones_stand_once() {
    let keys = |number: usize| with(|job| (0..number).for_each(|i| job[format!("later{i}")] = json!(i)));
    let most = parse(&keys(MOST_UNKNOWN)).expect("as many as are kept");
    let note = most.note().expect("a note");
    assert!(note.contains("\"later0\"") && note.contains(" and 56 more, "), "{note}");
    let said = parse(&keys(MOST_UNKNOWN + 1)).expect_err("refused");
    assert_eq!(said, "read job: more than 64 keys that this program does not know: update hone");
    let odd = parse(&with(|job| job["\u{1b}[2J"] = json!(1))).expect("kept").note().expect("a note");
    assert!(!odd.contains('\u{1b}'), "{odd}");
    let twice = String::from_utf8_lossy(RECORDED).replacen("\"name\"", "\"name\": \"other\", \"name\"", 1);
    assert!(Job::parse(twice.as_bytes()).is_err());
}

#[test]
fn what_is_kept_is_small_and_flat_enough_for_a_record() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!([value]));
    let deep = |depth: usize| with(|job| job["base"]["files"][1]["later"] = nested(depth));
    parse(&deep(MOST_UNKNOWN_DEPTH)).expect("deep enough");
    for depth in [MOST_UNKNOWN_DEPTH + 1, 100, 120] {
        let said = parse(&deep(depth)).expect_err("refused");
        let want = "read job: \"base.files.1.later\" is not known to this program, and is nested more than 16 deep";
        assert_eq!(said, format!("{want}: update hone"));
    }
    // Its brackets, commas and key take the rest.
    let ones = |bytes: usize| with(|job| job["base"]["files"][1]["later"] = json!(vec![1; bytes / 2]));
    for (job, fits) in
        [(ones(MOST_UNKNOWN_BYTES - 12), true), (ones(MOST_UNKNOWN_BYTES), false), (ones(2_000_000), false)]
    {
        let Err(said) = parse(&job) else {
            let run = serde_json::to_vec_pretty(&run_of(parse(&job).expect("a job"))).expect("JSON");
            assert!(fits && run.len() < 2 << 20, "{} bytes", run.len());
            serde_json::from_slice::<RunRecord>(&run).expect("a run record");
            continue;
        };
        assert!(!fits && said.ends_with(" bytes, want at most 65536: update hone"), "{said}");
        // Nor by the way of a record.
        let mut run = serde_json::to_value(run_of(Job::parse(RECORDED).expect("a job"))).expect("JSON");
        run["job"] = job;
        assert_eq!(serde_json::from_value::<RunRecord>(run).expect_err("refused").to_string(), said);
    }
    // Long keys are bytes as well.
    assert!(parse(&with(|job| job["x".repeat(MOST_UNKNOWN_BYTES)] = json!(1))).is_err());
    let keys = with(|job| (0..8).for_each(|i| job[format!("later{i}")] = json!("x".repeat(MOST_UNKNOWN_BYTES / 8))));
    assert!(parse(&keys).is_err(), "each of them fits, and all do not");
}

#[test]
fn a_limit_that_is_not_known_is_refused() {
    for (section, key) in [
        ("resources", "memroy"),
        ("resources", "gpu"),
        ("adapter", "max_norm"),
        ("trainer", "network"),
        ("trainer", "a\u{1b}[2Jb"),
    ] {
        let said = parse(&with(|job| job[section][key] = json!(1))).expect_err("refused");
        let shown = key.replace('\u{1b}', "\\u{1b}");
        let want = format!("\"{section}.{shown}\" is not known to this program, and a limit must be: update hone");
        assert_eq!(said, format!("read job: {want}"));
    }
}

#[test]
fn a_key_that_is_nearly_another_is_refused() {
    for (key, meant) in [
        ("/Requires", "requires"),
        ("/require", "requires"),
        ("/required", "requires"),
        ("/Adapter", "adapter"),
        ("/base/TOKENIZER", "tokenizer"),
        ("/base/files/1/Size", "size"),
        ("/finetune/maxLength", "max_length"),
        ("/finetune/dataset/System", "system"),
        ("/resources/Memory", "memory"),
        ("/resources/CPU", "cpu"),
        ("/adapter/max-bytes", "max_bytes"),
        ("/trainer/readonlyRoot", "readonly_root"),
    ] {
        let (above, last) = key.rsplit_once('/').expect("a pointer");
        let job = with(|job| job.pointer_mut(above).expect("an object")[last] = json!(1));
        let shown = key.trim_start_matches('/').replace('/', ".");
        let want = format!("read job: \"{shown}\" is no key; \"{meant}\" is");
        assert_eq!(parse(&job).expect_err("refused"), want);
    }
}
