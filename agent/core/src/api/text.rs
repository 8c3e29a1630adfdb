//! Text for people in which others had a hand: tools, servers, annotations, peers. It is kept short enough for every
//! place it goes to, and can steer no terminal.

/// The longest message, in bytes: a sentence and the last lines of a tool.
pub const MESSAGE: usize = 2048;
/// The longest mark on a Lease and message of an Event, in bytes. The API takes no more of an Event, the admission
/// policy no more of a mark.
pub const NOTE: usize = 1024;
/// The longest word or name that is quoted, in bytes.
pub const WORD: usize = 128;

/// Stands where something was left out.
const GAP: &str = " … ";

/// The text without control characters, lines kept, in at most `limit` bytes. Of what is too long the middle goes: a
/// message begins with what failed and ends with a tool's last lines.
pub fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return plain(text);
    }
    let room = limit.saturating_sub(GAP.len());
    let mut head = room / 3;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - (room - head);
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    let gap = if room == 0 { "" } else { GAP };
    plain(&[head, gap, tail].concat())
}

/// The text with a space for each control character but the line feed.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// The first so many, and how many more there are.
pub fn some_of(count: usize, between: &str, texts: &[String]) -> String {
    let told = texts.iter().take(count).cloned().collect::<Vec<_>>().join(between);
    match texts.len().saturating_sub(count) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// The last `count` lines that are not blank, trimmed.
pub fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let mut lines: Vec<&str> =
        text.lines().rev().map(str::trim).filter(|line| !line.is_empty()).take(count).collect();
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_what_is_too_long_beginning_and_end_stay() {
        assert_eq!(shortened("apt failed", 64), "apt failed");
        let long = format!("apt failed three times: {} E: no space left", "x".repeat(500));
        let short = shortened(&long, 64);
        assert!(short.starts_with("apt failed") && short.ends_with("E: no space left"), "{short}");
    }

    #[test]
    fn nothing_in_a_text_steers_a_terminal() {
        assert_eq!(shortened("a\u{1b}[2Jb\r\u{9b}c\nd", 64), "a [2Jb  c\nd");
    }

    #[test]
    fn the_last_lines_are_those_that_say_something() {
        assert_eq!(last_lines("a\n b \n\n c\n  \n", 2), ["b", "c"]);
        assert!(last_lines(" \n", 2).is_empty());
    }

    proptest! {
        #[test]
        fn a_text_is_never_longer_than_its_limit_and_never_cut_within_a_character(
            text in any::<String>(), limit in 0..80_usize,
        ) {
            let short = shortened(&text, limit);
            // A control character of two bytes becomes a space of one.
            prop_assert!(short.len() <= limit);
            prop_assert!(!short.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}
