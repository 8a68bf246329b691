//! Progress for people: one refreshed line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use hone_train::train::{Event, Step};

/// Plain lines come no faster than this.
const EVERY: Duration = Duration::from_secs(2);
/// Characters of the bar.
const BAR: u64 = 24;

/// Shows a run on standard error.
pub struct Show {
    terminal: bool,
    begun: Instant,
    first: u64,
    last: Option<Instant>,
}

impl Show {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), begun: Instant::now(), first: 0, last: None }
    }

    /// A line of its own.
    pub fn say(&mut self, text: &str) {
        let clear = if self.terminal && self.last.is_some() { "\r\x1b[K" } else { "" };
        write(&format!("{clear}{}\n", hone_contract::printable(text)));
        self.last = None;
    }

    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Begin { step: 0, .. } => self.begun = Instant::now(),
            Event::Begin { step, steps } => {
                (self.begun, self.first) = (Instant::now(), *step);
                self.say(&format!("continuing from the checkpoint at step {step} of {steps}"));
            }
            Event::Step(step) => self.step(step),
        }
    }

    fn step(&mut self, step: &Step) {
        let here = step.step - self.first;
        let each = self.begun.elapsed().as_secs_f64() / here.max(1) as f64;
        let left = duration(each * (step.steps - step.step) as f64);
        let line = format!(
            "step {}/{}  loss {:.4}  {:.0} tokens/s  {left} left",
            step.step, step.steps, step.loss, step.tokens_per_s
        );
        if self.terminal {
            let full = (BAR * step.step / step.steps.max(1)) as usize;
            write(&format!("\r\x1b[K[{}{}] {line}", "=".repeat(full), " ".repeat(BAR as usize - full)));
            if step.step == step.steps {
                write("\n");
            }
            self.last = (step.step < step.steps).then(Instant::now);
            return;
        }
        let edge = step.step == 1 || step.step == step.steps;
        if edge || self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            write(&format!("{line}\n"));
            self.last = Some(Instant::now());
        }
    }
}

/// Standard error may be closed: training goes on, progress.jsonl has it all.
fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn duration(seconds: f64) -> String {
    let all = seconds.round() as u64;
    match (all / 3600, all / 60 % 60, all % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_short() {
        let all: Vec<String> = [0.4, 59.6, 3599.0, 7260.0].map(super::duration).to_vec();
        assert_eq!(all, ["0s", "1m00s", "59m59s", "2h01m"]);
    }
}
