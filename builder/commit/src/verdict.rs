//! How the run ended, and what that means in a sentence.

use hone_contract::run::{ExitRecord, OUT_NAME, Outcome, RunRecord};
use hone_contract::size;
use hone_store::staging::Staged;

use crate::error::{Pending, StepError};

/// SIGINT and SIGTERM: somebody stopped the run.
const STOPS: [i32; 2] = [2, 15];

/// When the run ended, if what it left may become a version.
pub fn check(staged: &Staged, run: &RunRecord) -> Result<u64, StepError> {
    if let Some(Outcome::Refused { reason }) = &staged.outcome {
        return Err(StepError::Refused(reason.clone()));
    }
    let out = staged.path.join(OUT_NAME);
    let out = out.display();
    let Some(exit) = &staged.exit else {
        if staged.is_alive()? {
            return Err(Pending::Running.into());
        }
        let reason = format!("nobody knows how the trainer ended; what it wrote is in {out}");
        return Err(StepError::Refused(reason));
    };
    if let Some(how) = failure(exit, run) {
        return Err(StepError::Refused(format!("{how}; what the trainer wrote is in {out}")));
    }
    if !run.job.adapter.commit {
        let reason = format!("the Honefile says adapter.commit: false; the adapter is in {out}/adapter");
        return Err(StepError::Refused(reason));
    }
    Ok(exit.finished_ms)
}

fn failure(exit: &ExitRecord, run: &RunRecord) -> Option<String> {
    let signal = exit.signal.or((exit.code > 128 && exit.code <= 192).then(|| exit.code - 128));
    match (exit.code, signal) {
        (0, None) => None,
        _ if exit.oom => {
            let limit = run.job.resources.memory;
            let limit = limit.map_or("the container's limit".to_owned(), |n| format!("limit {}", size(n)));
            let advice = "allow it more (resources.memory), or lower batch_size or max_length";
            Some(format!("the trainer was killed for memory ({limit}): {advice}"))
        }
        (_, Some(signal)) if STOPS.contains(&signal) => {
            Some("the run was stopped; the same command goes on from its checkpoint".to_owned())
        }
        (_, Some(signal)) => Some(format!("the trainer was ended by signal {signal}")),
        (code, None) => Some(format!("the trainer exited with code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_contract::job::{AdapterSpec, Job, Resources};
    use hone_contract::run::Engine;
    use hone_contract::unknown::Unknown;

    fn run() -> RunRecord {
        let adapter = AdapterSpec { commit: true, tag: "v{n}".into(), tensors: None, max_bytes: 1 };
        let job = Job {
            contract: 1,
            requires: Vec::new(),
            name: "a".into(),
            base: None,
            trainer: None,
            finetune: None,
            resources: Resources { memory: Some(64_000_000), ..Resources::default() },
            adapter,
            unknown: Unknown::default(),
        };
        RunRecord { id: "x".into(), engine: Engine::None, image: None, job }
    }

    #[test]
    fn each_end_has_its_words() {
        let exit = |code, signal, oom| ExitRecord { code, signal, oom, finished_ms: 7 };
        let words = |e| failure(&e, &run());
        assert_eq!(words(exit(0, None, false)), None);
        assert_eq!(words(exit(3, None, false)).as_deref(), Some("the trainer exited with code 3"));
        assert_eq!(words(exit(139, Some(11), false)).as_deref(), Some("the trainer was ended by signal 11"));
        let killed = words(exit(137, Some(9), true)).expect("killed");
        assert!(killed.starts_with("the trainer was killed for memory (limit 64.0 MB): "), "{killed}");
        for stop in [exit(130, Some(2), false), exit(143, None, false)] {
            assert!(words(stop).expect("stopped").starts_with("the run was stopped; "));
        }
        assert_eq!(words(exit(255, None, false)).as_deref(), Some("the trainer exited with code 255"));
    }
}
