//! What is fuzzed: each target reads an input as the agent does and says what it comes to, or what is wrong with that.

mod annotations;
mod configuration;
mod journals;
mod leases;
mod policies;
mod world;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::mutate::Form;

/// One way in for what others write.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its name on the command line, and of its corpus.
    pub(crate) name: &'static str,
    /// How its inputs are made.
    pub(crate) form: Form,
    /// Words that mean something to its reader.
    pub(crate) words: &'static [&'static str],
    /// What an input comes to, without the values in it; or what must not be.
    judge: fn(&[u8]) -> Result<String, String>,
}

/// All of them.
pub(crate) static TARGETS: [Target; 5] = [
    Target { name: "journals", form: Form::Journal, words: &journals::WORDS, judge: journals::judge },
    Target { name: "policies", form: Form::Json, words: &policies::WORDS, judge: policies::judge },
    Target { name: "annotations", form: Form::Json, words: &annotations::WORDS, judge: annotations::judge },
    Target { name: "leases", form: Form::Json, words: &leases::WORDS, judge: leases::judge },
    Target {
        name: "configuration",
        form: Form::Text,
        words: &configuration::WORDS,
        judge: configuration::judge,
    },
];

thread_local! {
    /// Where this thread's judge panicked; none while no judge is at work.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What an input comes to; a panic is a failure like others.
pub(crate) fn judged(target: &Target, input: &[u8]) -> Result<String, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|panic| match panic {
                Some(panic) => *panic = info.to_string().replace('\n', " "),
                None => other(info),
            });
        }));
    });
    PANIC.set(Some(String::new()));
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| (target.judge)(input)));
    let panicked = PANIC.take().unwrap_or_default();
    verdict.unwrap_or_else(|_| Err(format!("a panic: {panicked}")))
}

/// An error with this text unless the condition holds.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// A message that people can read: there is one, it is not without end, and it steers no terminal.
fn is_clear(message: &str) -> Result<(), String> {
    ensure(!message.trim().is_empty(), || "a message that says nothing".to_owned())?;
    ensure(message.len() <= 4096, || format!("a message without end: {} bytes", message.len()))?;
    let steers = message.chars().find(|c| c.is_control() && *c != '\n');
    ensure(steers.is_none(), || format!("a message that steers terminals: {message:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_reader_is_a_failure_that_says_where() {
        let panics: fn(&[u8]) -> Result<String, String> = |_| panic!("of no use");
        let target = Target { name: "x", form: Form::Text, words: &[], judge: panics };
        let why = judged(&target, b"").unwrap_err();
        assert!(why.contains("of no use") && why.contains("targets.rs"), "{why}");
    }

    #[test]
    fn a_message_that_people_cannot_read_is_none() {
        assert!(is_clear("line\nline").is_ok());
        for message in ["", " ", "\u{1b}[2J", &"x".repeat(5000)] {
            assert!(is_clear(message).is_err());
        }
    }
}
