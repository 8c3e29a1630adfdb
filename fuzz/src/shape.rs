//! What a message says without the values in it: two inputs of one outcome differ in values alone.

/// The longest shape.
const LONGEST: usize = 160;

/// The message with what is quoted, numbers, and everything that is no plain word left out.
pub(crate) fn shape(message: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in unquoted(&expected(message)).split_whitespace() {
        let word = if is_plain(word) { word.to_owned() } else { "_".to_owned() };
        if words.last() != Some(&word) || word != "_" {
            words.push(word);
        }
    }
    words.join(" ").chars().take(LONGEST).collect()
}

/// What a reader wanted, without what stands there instead: of what type that is tells nothing.
fn expected(message: &str) -> String {
    let Some((head, tail)) = message.split_once("invalid type: ") else { return message.to_owned() };
    let wanted = tail.rsplit_once(", expected ").map_or(tail, |(_, wanted)| wanted);
    format!("{head} invalid type, expected {wanted}")
}

/// A word of a sentence, with its punctuation.
fn is_plain(word: &str) -> bool {
    let word = word.trim_matches(|c| ",.:;()'".contains(c));
    !word.is_empty() && word.len() <= 20 && word.bytes().all(|b| b.is_ascii_alphabetic())
}

/// `_` for all that stands in quotes or back quotes. A quote that is not closed takes the rest with it.
fn unquoted(message: &str) -> String {
    let mut text = String::new();
    let mut chars = message.chars();
    while let Some(c) = chars.next() {
        if c != '"' && c != '`' {
            text.push(c);
            continue;
        }
        text.push('_');
        while let Some(inner) = chars.next() {
            if inner == '\\' {
                chars.next();
            } else if inner == c {
                break;
            }
        }
    }
    text
}

/// The message without these values, and then without what looks like one.
pub(crate) fn shape_without<'a>(message: &str, values: impl IntoIterator<Item = &'a str>) -> String {
    let mut values: Vec<&str> = values.into_iter().filter(|value| !value.is_empty()).collect();
    // A value that is part of another one goes after it.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    shape(&values.iter().fold(message.to_owned(), |text, value| text.replace(value, "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_in_values_alone_have_one_shape() {
        let of = |value: &str, line: u32| shape(&format!("key paused: {value:?} is not `x` at line {line}"));
        assert_eq!(of("yes", 3), of("a \" b", 40_000));
        assert_eq!(of("yes", 3), "key paused: _ is not _ at line _");
        assert_eq!(shape("invalid type: null, expected u32"), shape("invalid type: `a, b`, expected u32"));
        assert_eq!(shape_without("key abc is unknown", ["abc", "ab"]), "key _ is unknown");
    }
}
