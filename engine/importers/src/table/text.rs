//! Text files in the encodings that people have: UTF-8, UTF-16 with a byte order mark, Windows-1252.

use std::io::Read;

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, WINDOWS_1252};

/// The encoding of a file by its beginning, and the length of its byte order mark.
///
/// # Errors
/// The reason, when the bytes are no text.
pub(crate) fn encoding_of(beginning: &[u8]) -> Result<(&'static Encoding, usize), String> {
    if let Some((encoding, mark)) = Encoding::for_bom(beginning) {
        return Ok((encoding, mark));
    }
    if beginning.contains(&0) {
        return Err(
            "it holds zero bytes: it is a binary file, or UTF-16 without a byte order mark".to_owned()
        );
    }
    let control = beginning.iter().filter(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31)).count();
    if control.saturating_mul(100) > beginning.len() {
        return Err("it holds control characters: it is a binary file".to_owned());
    }
    match std::str::from_utf8(beginning) {
        Ok(_) => Ok((UTF_8, 0)),
        // The sample may end inside of a character.
        Err(error) if error.error_len().is_none() => Ok((UTF_8, 0)),
        Err(_) => Ok((WINDOWS_1252, 0)),
    }
}

/// The beginning of a file as text.
pub(crate) fn decoded(beginning: &[u8], encoding: &'static Encoding, mark: usize) -> String {
    let (text, _) = encoding.decode_without_bom_handling(beginning.get(mark..).unwrap_or_default());
    text.into_owned()
}

/// Turns a stream of another encoding into UTF-8; UTF-8 itself is passed on, without its byte order mark.
pub(crate) struct Utf8Reader<R> {
    inner: R,
    decoder: Option<Decoder>,
    mark: usize,
    input: Vec<u8>,
    start: usize,
    end: usize,
    finished: bool,
}

impl<R: Read> Utf8Reader<R> {
    pub(crate) fn new(inner: R, encoding: &'static Encoding, mark: usize) -> Self {
        let decoder = (encoding != UTF_8).then(|| encoding.new_decoder_without_bom_handling());
        let size = if decoder.is_some() { 1 << 16 } else { 0 };
        Self { inner, decoder, mark, input: vec![0; size], start: 0, end: 0, finished: false }
    }
}

impl<R: Read> Read for Utf8Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.mark > 0 {
            let mut skipped = [0_u8; 1];
            if self.inner.read(&mut skipped)? == 0 {
                return Ok(0);
            }
            self.mark = self.mark.saturating_sub(1);
        }
        let Some(decoder) = &mut self.decoder else { return self.inner.read(out) };
        // The decoder needs room for one whole character.
        if out.len() < 8 {
            return Err(std::io::Error::other("the buffer is too small for a character"));
        }
        loop {
            let input = self.input.get(self.start..self.end).unwrap_or_default();
            let (result, read, written, _) = decoder.decode_to_utf8(input, out, self.finished);
            self.start = self.start.saturating_add(read);
            if written > 0 || (self.finished && result == CoderResult::InputEmpty) {
                return Ok(written);
            }
            self.start = 0;
            self.end = self.inner.read(&mut self.input)?;
            self.finished = self.end == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> String {
        let (encoding, mark) = encoding_of(bytes).unwrap();
        let mut text = String::new();
        let mut reader = std::io::BufReader::with_capacity(16, Utf8Reader::new(bytes, encoding, mark));
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, decoded(bytes, encoding, mark));
        text
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "step,précision\n0,1.0\n";
        assert_eq!(read(text.as_bytes()), text);
        assert_eq!(read(&[b"\xef\xbb\xbf", text.as_bytes()].concat()), text);
        let utf16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            mark.into_iter().chain(text.encode_utf16().flat_map(bytes)).collect::<Vec<u8>>()
        };
        assert_eq!(read(&utf16([0xff, 0xfe], u16::to_le_bytes)), text);
        assert_eq!(read(&utf16([0xfe, 0xff], u16::to_be_bytes)), text);
        let latin1: Vec<u8> = text.chars().map(|c| c as u8).collect();
        assert_eq!(read(&latin1), text);
    }

    #[test]
    fn binary_files_are_no_text() {
        assert!(encoding_of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").is_err());
        assert!(encoding_of(&[1, 2, 3, 4]).is_err());
    }
}
