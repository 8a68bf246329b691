//! One value for one file of a cgroup, decided before anything is written.

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller that owns the file.
    pub controller: &'static str,
    /// The file's name.
    pub file: String,
    /// What to write.
    pub value: String,
    /// Whether a host without this file is passed over; a limit that somebody asked for is never optional.
    pub optional: bool,
}

impl Setting {
    /// A limit that must hold.
    pub fn must(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Self {
        Self { controller, file: file.into(), value: value.to_string(), optional: false }
    }

    /// A setting that helps where the kernel knows it.
    pub fn may(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Self {
        Self { optional: true, ..Self::must(controller, file, value) }
    }
}
