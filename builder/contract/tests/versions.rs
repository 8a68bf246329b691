//! Jobs of other versions of Hone than this one: recorded, of tomorrow, and of a day that this one is not fit for.

use hone_contract::job::{Job, UNDERSTOOD};
use hone_contract::run::{Engine, RunRecord};
use hone_contract::unknown::MOST_UNKNOWN;
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
        job["resources"]["gpu"] = json!(1);
        job["adapter"]["rows"] = Value::Null;
    });
    let job = parse(&tomorrow).expect("a job of tomorrow");
    assert_eq!((job.finetune.as_ref().expect("finetune").rank, job.resources.pids), (2, Some(64)));
    assert_eq!(
        job.note().as_deref(),
        Some(
            "/hone/job.json has \"adapter.rows\", \"base.files.1.mirror\", \"finetune.dataset.split\", \
             \"finetune.packing\", \"later\", \"resources.gpu\", not known to this program: kept, and not followed"
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
