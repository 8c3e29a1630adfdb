//! The next input: one that is kept, with some of its bytes, lines or fields changed.

use fastrand::Rng;

use crate::json;
use crate::seal;
use crate::targets::Target;

/// How the bytes of an input are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A header with a checksum, and JSON below it.
    Journal,
    /// JSON.
    Json,
    /// Lines of `key = value`.
    Text,
}

/// What breaks readers of text, whatever they read.
pub(crate) const ODD: [&str; 40] = [
    "",
    " ",
    "\0",
    "\n",
    "\r\n",
    "\t",
    "\u{feff}",
    "\u{1b}[2J",
    "\u{9b}",
    "\u{202e}",
    "é",
    "日本",
    "\u{10ffff}",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    "=",
    "#",
    ",",
    ":",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e999",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "v1.36.3",
    "v4294967295.4294967295.4294967295",
];

/// Makes inputs.
pub(crate) struct Mutator {
    form: Form,
    words: &'static [&'static str],
    rng: Rng,
}

impl Mutator {
    /// For a target, from a seed.
    pub(crate) fn new(target: &Target, seed: u64) -> Self {
        Self { form: target.form, words: target.words, rng: Rng::with_seed(seed) }
    }

    /// An input made of those in the pool.
    pub(crate) fn next(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(pool);
        for _ in 0..self.rng.usize(1..=4) {
            input = match self.form {
                Form::Journal => self.journal(&input, pool),
                Form::Json => self.document(&input, pool),
                Form::Text => self.text(&input, pool),
            };
        }
        input
    }

    fn one_of(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        if pool.is_empty() { Vec::new() } else { self.rng.choice(pool).cloned().unwrap_or_default() }
    }

    /// Mostly a change below a checksum that fits: any other is found out before anything is read.
    fn journal(&mut self, input: &[u8], pool: &[Vec<u8>]) -> Vec<u8> {
        let Some(body) = seal::body(input).filter(|_| self.rng.u8(..) >= 30) else {
            return self.text(input, pool);
        };
        let other = self.one_of(pool);
        let bodies = [seal::body(&other).unwrap_or_default().to_vec()];
        let body =
            if self.rng.u8(..) < 200 { self.document(body, &bodies) } else { self.text(body, &bodies) };
        let version = match self.rng.u8(..) {
            0..4 => self.rng.u32(..),
            4..8 => self.rng.u32(0..4),
            _ => 2,
        };
        seal::sealed(version, &body)
    }

    /// Mostly a change of a value in a document that stays one.
    fn document(&mut self, input: &[u8], pool: &[Vec<u8>]) -> Vec<u8> {
        match serde_json::from_slice(input) {
            Ok(document) if self.rng.u8(..) >= 20 => {
                let other = serde_json::from_slice(&self.one_of(pool)).unwrap_or_default();
                let word = self.word();
                let changed = json::changed(&mut self.rng, document, &other, &word);
                if self.rng.bool() {
                    serde_json::to_vec_pretty(&changed)
                } else {
                    serde_json::to_vec(&changed)
                }
                .unwrap_or_default()
            }
            _ => self.text(input, pool),
        }
    }

    /// A word of the target, an odd one, several, or very many.
    fn word(&mut self) -> String {
        let mut word = || {
            let words = if self.rng.bool() { self.words } else { &ODD };
            (*self.rng.choice(words).unwrap_or(&"")).to_owned()
        };
        let (first, second) = (word(), word());
        match self.rng.u8(..) {
            0..30 => first + &second,
            30..40 => first.repeat(self.rng.usize(1..500)),
            _ => first,
        }
    }

    fn text(&mut self, input: &[u8], pool: &[Vec<u8>]) -> Vec<u8> {
        match self.rng.u8(0..10) {
            0..4 => self.bytes(input),
            4 => String::from_utf8_lossy(input).replace('\n', "\r\n").into_bytes(),
            _ => self.lines(input, pool),
        }
    }

    /// Bytes cut out, put in, doubled, flipped, or the end cut off.
    fn bytes(&mut self, input: &[u8]) -> Vec<u8> {
        let one = self.rng.usize(0..=input.len());
        let other = self.rng.usize(one..=input.len().min(one + 16));
        let part = |from: usize, to: usize| input.get(from..to).unwrap_or_default();
        let (before, within, after) = (part(0, one), part(one, other), part(other, input.len()));
        match self.rng.u8(0..6) {
            0 => before.to_vec(),
            1 => [before, after].concat(),
            2 => [before, within, within, after].concat(),
            3 => {
                let bit = 1 << self.rng.u8(0..8);
                let flipped: Vec<u8> = within.iter().take(1).map(|byte| byte ^ bit).collect();
                [before, &flipped, within.get(1..).unwrap_or_default(), after].concat()
            }
            4 => [before, &[self.rng.u8(..)], within, after].concat(),
            _ => [before, self.word().as_bytes(), after].concat(),
        }
    }

    /// A line cut out, doubled, moved, taken from another input, or with another value.
    fn lines(&mut self, input: &[u8], pool: &[Vec<u8>]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let at = self.rng.usize(0..lines.len());
        let to = self.rng.usize(0..lines.len());
        match self.rng.u8(0..8) {
            0 => drop(lines.remove(at)),
            1 => {
                let line = lines.remove(at);
                lines.insert(to, line);
            }
            2 => {
                let line = lines.get(at).cloned().unwrap_or_default();
                lines.insert(to, line);
            }
            3 => {
                let other = self.one_of(pool);
                let others: Vec<&[u8]> = other.split(|byte| *byte == b'\n').collect();
                let line = self.rng.choice(&others).map(|line| line.to_vec()).unwrap_or_default();
                lines.insert(at, line);
            }
            _ => {
                let value = self.value();
                if let Some(line) = lines.get_mut(at) {
                    let key = line.iter().position(|byte| b"=:".contains(byte)).map_or(0, |end| end + 1);
                    line.truncate(key);
                    line.extend_from_slice(value.as_bytes());
                }
            }
        }
        lines.join(&b'\n')
    }

    /// A value after its key, quoted or not, in a list, or deep below others.
    fn value(&mut self) -> String {
        let word = self.word();
        let deep = self.rng.usize(0..300);
        match self.rng.u8(0..16) {
            0..8 => format!(" \"{word}\""),
            8 => format!(" [\"{word}\", \"{}\"]", self.word()),
            9 => format!(" {}", self.rng.i64(..)),
            10 => format!("{}{}", " [".repeat(deep), "]".repeat(deep)),
            11 => format!(" {{ {word} = 1 }}"),
            12 => format!(" \"\"\"\n{word}\"\"\""),
            _ => format!(" {word}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::TARGETS;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_another_one_others() {
        let pool = [b"{\"a\": 1}".to_vec(), b"a = 1\nb = 2\n".to_vec()];
        for target in &TARGETS {
            let drawn = |seed| {
                let mut mutator = Mutator::new(target, seed);
                (0..50).map(|_| mutator.next(&pool)).collect::<Vec<_>>()
            };
            assert_eq!(drawn(1), drawn(1));
            assert_ne!(drawn(1), drawn(2));
        }
    }

    #[test]
    fn most_changed_journals_are_sealed() {
        let target = TARGETS.iter().find(|target| target.form == Form::Journal).unwrap();
        let mut mutator = Mutator::new(target, 7);
        let pool = [seal::sealed(2, b"{\"known\": true}")];
        let sealed = (0..200).filter(|_| seal::version(&mutator.next(&pool)).is_some()).count();
        assert!((80..200).contains(&sealed), "{sealed}");
    }
}
