//! SIGINT and SIGTERM: the first asks the run to stop, a second of either ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hone_train::{Result, TrainError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Which signal came, if any.
#[derive(Debug, Clone, Default)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Result<Self> {
        let (came, again) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in the order of their registration: the first signal finds `again` still false.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))
                .and_then(|_| flag::register(signal, Arc::clone(&again)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&came), signal as usize))
                .map_err(|e| TrainError::Setting {
                    what: format!("signal {signal}"),
                    got: e.to_string(),
                    want: "a handler".to_owned(),
                })?;
        }
        Ok(Self(came))
    }

    /// The signal that came.
    pub fn came(&self) -> Option<i32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}
