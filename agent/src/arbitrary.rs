//! Inputs for parsers of what others write: anything, and real samples gone wrong.
//!
//! `PROPTEST_CASES=100000 cargo test -p node-upgrade-agent in_any_form` tries more of them than `make check` does.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// Any text, and pieces that mean something to somebody.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "-",
        "--",
        "-o",
        "/",
        "..",
        "../..",
        ".",
        " ",
        "\n",
        "\n\n",
        "\t",
        "\r",
        "\0",
        "\u{1b}[2J",
        "\u{9b}",
        "=",
        "~",
        "+",
        ":",
        ";",
        "|",
        "#",
        "\\",
        "\\\n",
        "\"",
        "'",
        "$(id)",
        "%s",
        "(",
        "{",
        "[",
        "1.36.3",
        "1.36.3-1.1",
        "v1.36.3",
        "Inst",
        "Remv",
        "Package:",
        "Status:",
        "kubelet",
        "kubeadm",
        "unknown flag: --",
        "invalid argument \"",
        "\" for \"",
        "é",
        "\u{202e}",
        "18446744073709551616",
        "-1",
        "null",
    ]);
    prop_oneof![
        2 => any::<String>(),
        6 => vec(prop_oneof![4 => pieces.prop_map(str::to_owned), 1 => any::<String>()], 0..8)
            .prop_map(|pieces| pieces.concat()),
        1 => ("[a-z1./-]", 0..10_000_usize).prop_map(|(unit, times)| unit.repeat(times)),
    ]
}

/// A real sample, of which pieces were cut out, doubled or replaced.
pub(crate) fn mangled(sample: &'static str) -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3_u8, hostile());
    vec(change, 0..4).prop_map(move |changes| {
        let mut text: Vec<char> = sample.chars().collect();
        for (one, other, kind, put) in changes {
            let (one, other) = (one.index(text.len() + 1), other.index(text.len() + 1));
            let range = one.min(other)..one.max(other);
            let piece: Vec<char> = text.get(range.clone()).unwrap_or_default().to_vec();
            match kind {
                0 => drop(text.drain(range)),
                1 => drop(text.splice(one..one, piece)),
                _ => drop(text.splice(range, put.chars())),
            }
        }
        text.into_iter().collect()
    })
}

/// A JSON document of which some values are others.
pub(crate) fn mangled_json(sample: Value) -> impl Strategy<Value = Value> {
    let other = prop_oneof![
        4 => hostile().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(Value::Array(Vec::new())),
    ];
    vec((any::<prop::sample::Index>(), other), 0..5).prop_map(move |changes| {
        let mut document = sample.clone();
        for (at, other) in changes {
            let mut places = paths(&document, String::new());
            let place = places.swap_remove(at.index(places.len()));
            if let Some(value) = document.pointer_mut(&place) {
                *value = other;
            }
        }
        document
    })
}

/// Where every value stands.
fn paths(value: &Value, at: String) -> Vec<String> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    let mut all: Vec<String> =
        below.into_iter().flat_map(|(key, value)| paths(value, format!("{at}/{key}"))).collect();
    all.push(at);
    all
}
