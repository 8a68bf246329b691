//! An error with its causes, as one line of a message.

use std::error::Error;

/// An error and its causes on one line. What a library has repeated of its cause in its own text is not said twice.
///
/// ```
/// let error = std::fs::read("/nowhere").unwrap_err();
/// assert_eq!(hone_contract::chain(&error), error.to_string());
/// ```
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &dyn Error)
        }
    }

    #[test]
    fn every_cause_is_said_once() {
        let told = |texts: &[&'static str]| {
            let all = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Told(text, cause))));
            chain(all.expect("an error").as_ref())
        };
        assert_eq!(told(&["read x"]), "read x");
        assert_eq!(told(&["read x", "permission denied", "os error 13"]), "read x: permission denied: os error 13");
        assert_eq!(
            told(&["read x: permission denied", "permission denied", "why"]),
            "read x: permission denied: why"
        );
    }
}
