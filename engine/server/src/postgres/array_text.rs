//! Arrays in their text form: `{1,NULL,"a b"}`. Blanks are those of ASCII, as with PostgreSQL: any other is a character.

use bytes::BytesMut;

/// What may stand around elements.
const BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

/// Adds one element, with quotes where it needs them.
pub(super) fn put_element(out: &mut BytesMut, element: &[u8]) {
    let special =
        |byte: &u8| BLANKS.contains(&char::from(*byte)) || matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\');
    if !element.is_empty() && !element.eq_ignore_ascii_case(b"null") && !element.iter().any(special) {
        out.extend(element);
        return;
    }
    out.extend(b"\"");
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.extend(b"\\");
        }
        out.extend([*byte]);
    }
    out.extend(b"\"");
}

/// The elements of an array of one dimension; `None` when the text is none.
pub(super) fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim_matches(BLANKS).strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim_matches(BLANKS).is_empty() {
        return Some(Vec::new());
    }
    let mut elements = Vec::new();
    let mut characters = inner.chars().peekable();
    loop {
        let (mut element, mut quoted) = (String::new(), false);
        while characters.next_if(|c| BLANKS.contains(c)).is_some() {}
        if characters.next_if_eq(&'"').is_some() {
            quoted = true;
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => element.push(characters.next()?),
                    other => element.push(other),
                }
            }
            while characters.next_if(|c| BLANKS.contains(c)).is_some() {}
        } else {
            while let Some(c) = characters.next_if(|c| *c != ',') {
                match c {
                    '{' | '}' | '"' => return None,
                    '\\' => element.push(characters.next()?),
                    other => element.push(other),
                }
            }
            element.truncate(element.trim_end_matches(BLANKS).len());
            if element.is_empty() {
                return None;
            }
        }
        let null = !quoted && element.eq_ignore_ascii_case("null");
        elements.push((!null).then_some(element));
        match characters.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(all: &[Option<String>]) -> String {
        let mut out = BytesMut::from(&b"{"[..]);
        for (at, element) in all.iter().enumerate() {
            if at > 0 {
                out.extend(b",");
            }
            match element {
                Some(element) => put_element(&mut out, element.as_bytes()),
                None => out.extend(b"NULL"),
            }
        }
        out.extend(b"}");
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn quotes_stand_where_they_must() {
        assert_eq!(
            elements(&written(&[Some("\u{2000}".to_owned())])).unwrap(),
            [Some("\u{2000}".to_owned())]
        );
        let all = ["a", "", "null", "a b", "a\"b\\", "{}"].map(|e| Some(e.to_owned()));
        assert_eq!(written(&all), "{a,\"\",\"null\",\"a b\",\"a\\\"b\\\\\",\"{}\"}");
        assert_eq!(
            elements(" { 1 , NULL,\"x\" } ").unwrap(),
            [Some("1".to_owned()), None, Some("x".to_owned())]
        );
        for wrong in ["", "{", "1,2", "{{1},{2}}", "{1,}", "{\"a}", "{\"a\"b}"] {
            assert_eq!(elements(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(all in proptest::collection::vec(proptest::option::of("\\PC{0,12}"), 0..6)) {
            prop_assert_eq!(elements(&written(&all)), Some(all));
        }
    }
}
