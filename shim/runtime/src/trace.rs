//! What libcontainer says while it works: its errors drop the cause, which it only logs.
//!
//! The first error event of the container's process is the deepest: it goes into the pipe by which that process tells
//! why it could not start. With `--debug`, everything goes to the log.

use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::log::Logger;

/// Listens to libcontainer from now on, in this process and its children.
pub fn listen(errors: File, log: Logger) {
    // There is at most one container per process, and so one listener; a second would change nothing.
    let _ = tracing::subscriber::set_global_default(Listener { errors: Mutex::new(Some(errors)), log });
}

struct Listener {
    errors: Mutex<Option<File>>,
    log: Logger,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let line = text.line();
        self.log.debug(&line);
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        if let Some(mut errors) = self.errors.lock().ok().and_then(|mut first| first.take()) {
            // The reader is gone once the container counts as created.
            let _ = errors.write_all(format!("{line}\n").as_bytes());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A message and the values that come with it.
#[derive(Default)]
struct Text {
    message: String,
    values: String,
}

impl Text {
    fn line(self) -> String {
        format!("{}{}", self.message, self.values)
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.values, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_first_error_is_told_whole() {
        let (mut read, write) = std::io::pipe().expect("pipe");
        let file = File::from(std::os::fd::OwnedFd::from(write));
        let listener = Listener { errors: Mutex::new(Some(file)), log: Logger::default() };
        tracing::subscriber::with_default(listener, || {
            tracing::info!("not this");
            tracing::error!(path = "/x", "cannot mount");
            tracing::error!("nor this");
        });
        let mut text = String::new();
        read.read_to_string(&mut text).expect("read");
        assert_eq!(text, "cannot mount path=\"/x\"\n");
    }
}
