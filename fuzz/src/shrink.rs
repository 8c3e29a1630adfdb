//! Smaller inputs that show the same.

use crate::mutate::Form;
use crate::seal;

/// The input with as much cut out as `same` bears, within so many tries. The body of a journal that is sealed is sealed again.
pub(crate) fn shrunk(form: Form, input: &[u8], tries: usize, same: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let sealed = if form == Form::Journal { seal::version(input) } else { None };
    let (Some(version), Some(body)) = (sealed, seal::body(input)) else {
        return cut(input, tries, &same);
    };
    let small = cut(body, tries, &|body: &[u8]| same(&seal::sealed(version, body)));
    // A header of another form may be what is shown.
    let again = seal::sealed(version, &small);
    if same(&again) { again } else { input.to_vec() }
}

/// Cuts halves, quarters and so on out, down to single bytes.
fn cut(input: &[u8], tries: usize, same: &impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut small = input.to_vec();
    let mut left = tries;
    let mut size = small.len().div_ceil(2);
    while size > 0 && left > 0 {
        let mut at = 0;
        while at < small.len() && left > 0 {
            let end = small.len().min(at + size);
            let less = [small.get(..at).unwrap_or_default(), small.get(end..).unwrap_or_default()].concat();
            left -= 1;
            if same(&less) { small = less } else { at = end }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_stays_and_the_rest_goes() {
        let same = |bytes: &[u8]| bytes.contains(&b'!');
        assert_eq!(shrunk(Form::Text, b"some text! and more", 1000, same), b"!");
        assert_eq!(shrunk(Form::Text, b"some text! and more", 0, same), b"some text! and more");
    }

    #[test]
    fn a_sealed_journal_stays_sealed() {
        let journal = seal::sealed(2, b"{\"known\": true, \"held\": []}");
        let small = shrunk(Form::Journal, &journal, 1000, |bytes| {
            seal::version(bytes) == Some(2) && bytes.ends_with(b"}")
        });
        assert_eq!(small, seal::sealed(2, b"}"));
    }
}
