//! A Honefile: any text is a plan or one error, and a plan makes a job that is read back.
#![no_main]

use hone_contract::job::Job;
use hone_plan::JobParts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match hone_plan::parse("Honefile", text) {
        Ok(plan) => {
            let job = plan.job(JobParts::default());
            assert_eq!(Job::parse(&job.to_bytes()).expect("a job that we wrote"), job);
        }
        Err(error) => {
            let said = error.report(None, false);
            assert!(!said.is_empty() && said.len() < 8192, "{} bytes", said.len());
            assert!(!said.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{said:?}");
        }
    }
});
