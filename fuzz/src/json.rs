//! Changes of JSON documents that leave them documents.

use fastrand::Rng;
use serde_json::{Map, Number, Value};

/// Numbers at the edges of what holds them.
const EDGES: [u64; 9] =
    [0, 1, 3, 3600, 3601, u32::MAX as u64, u32::MAX as u64 + 1, i64::MAX as u64, u64::MAX];

/// The document with one value changed: another of its own, one of another document's, the word, an edge, none, or more of it.
pub(crate) fn changed(rng: &mut Rng, mut document: Value, other: &Value, word: &str) -> Value {
    let places = places(&document);
    let own = rng.choice(&places).and_then(|place| document.pointer(place)).cloned().unwrap_or_default();
    let others = self::places(other);
    let theirs = rng.choice(&others).and_then(|place| other.pointer(place)).cloned().unwrap_or_default();
    let at = rng.choice(&places).cloned().unwrap_or_default();
    let Some(value) = document.pointer_mut(&at) else { return document };
    match rng.u8(0..12) {
        0..3 => *value = Value::from(word),
        3 => *value = own,
        4 => *value = theirs,
        5 => *value = number(rng),
        6 => *value = Value::Bool(rng.bool()),
        7 => *value = simplest(rng),
        8 => *value = deep(rng, value.take()),
        9 => edit_text(rng, value, word),
        10 => add(rng, value, word, theirs),
        _ => remove(rng, value),
    }
    document
}

fn number(rng: &mut Rng) -> Value {
    match rng.u8(0..4) {
        0 => Value::from(rng.i64(..)),
        1 => Number::from_f64(rng.f64() * 1e20).map_or(Value::Null, Value::Number),
        _ => Value::from(rng.choice(EDGES).unwrap_or_default()),
    }
}

fn simplest(rng: &mut Rng) -> Value {
    match rng.u8(0..3) {
        0 => Value::Null,
        1 => Value::Array(Vec::new()),
        _ => Value::Object(Map::new()),
    }
}

/// Below so many lists or objects of one.
fn deep(rng: &mut Rng, value: Value) -> Value {
    let object = rng.bool();
    let below =
        |inner| if object { Map::from_iter([("a".to_owned(), inner)]).into() } else { vec![inner].into() };
    (0..rng.usize(1..140)).fold(value, |inner, _| below(inner))
}

/// A text with the word put in, or cut short; what is no text becomes one.
fn edit_text(rng: &mut Rng, value: &mut Value, word: &str) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let chars: Vec<char> = text.chars().collect();
    let at = rng.usize(0..=chars.len());
    let (head, tail) = chars.split_at(at);
    let tail = if rng.bool() { tail.iter().collect() } else { String::new() };
    *value = Value::from(head.iter().collect::<String>() + word + &tail);
}

fn add(rng: &mut Rng, value: &mut Value, word: &str, theirs: Value) {
    match value {
        Value::Object(map) => {
            // A key that others have, or any.
            let known =
                if let Value::Object(theirs) = &theirs { theirs.keys().next().cloned() } else { None };
            map.insert(known.filter(|_| rng.bool()).unwrap_or_else(|| word.to_owned()), theirs);
        }
        Value::Array(list) => list.push(theirs),
        other => *other = theirs,
    }
}

fn remove(rng: &mut Rng, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            if let Some(key) = rng.choice(&keys) {
                map.remove(key);
            }
        }
        Value::Array(list) => drop(list.pop()),
        _ => {}
    }
}

/// Where every value stands.
fn places(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let below: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in below {
        all.extend(places(value).into_iter().map(|place| format!("/{key}{place}")));
    }
    all
}
