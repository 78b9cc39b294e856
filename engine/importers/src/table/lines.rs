//! Lines of a stream, each of bounded length.

use std::io::Read;

/// Reads lines; a line ends with `\n`, and a `\r` before it does not count.
pub(crate) struct Lines<'r> {
    reader: &'r mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    line: std::ops::Range<usize>,
    number: u64,
    most: usize,
    finished: bool,
}

/// Why a line, or everything behind it, cannot be read; in the second case no line follows.
#[derive(Debug)]
pub(crate) struct LineFault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

const CHUNK: usize = 1 << 17;

impl<'r> Lines<'r> {
    pub(crate) fn new(reader: &'r mut dyn Read, most: usize) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, end: 0, line: 0..0, number: 0, most, finished: false }
    }

    /// The number of the current line, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The current line, without its end.
    pub(crate) fn line(&self) -> &[u8] {
        let line = self.buffer.get(self.line.clone()).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Goes to the next line. A line that is too long is skipped, and so is a last line that a fault has cut.
    pub(crate) fn next(&mut self) -> Option<Result<(), LineFault>> {
        if self.finished && self.start == self.end {
            return None;
        }
        self.number = self.number.saturating_add(1);
        let mut searched = self.start;
        let mut skipping = false;
        loop {
            let found = self
                .buffer
                .get(searched..self.end)
                .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
            if let Some(position) = found {
                let end = searched.saturating_add(position);
                self.line = self.start..end;
                self.start = end.saturating_add(1);
                return Some(if skipping { Err(self.too_long()) } else { Ok(()) });
            }
            if self.finished {
                self.line = self.start..self.end;
                self.start = self.end;
                return match (skipping, self.line.is_empty()) {
                    (true, _) => Some(Err(self.too_long())),
                    (false, true) => None,
                    (false, false) => Some(Ok(())),
                };
            }
            if self.end.saturating_sub(self.start) > self.most {
                skipping = true;
            }
            if skipping {
                self.start = self.end;
            }
            searched = match self.fill() {
                Ok(searched) => searched,
                Err(error) => {
                    self.finished = true;
                    self.start = self.end;
                    let message = format!("the file cannot be read further: {error}");
                    return Some(Err(LineFault { code: "file.cut", message }));
                }
            };
        }
    }

    fn too_long(&self) -> LineFault {
        let message = format!("the line is longer than {} bytes", self.most);
        LineFault { code: "line.too_long", message }
    }

    /// Reads more behind the bytes that are there; returns where the new ones begin.
    fn fill(&mut self) -> std::io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
        }
        let searched = self.end;
        if self.buffer.len() < self.end.saturating_add(CHUNK) {
            self.buffer.resize(self.end.saturating_add(CHUNK), 0);
        }
        let space = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = loop {
            match self.reader.read(space) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.end = self.end.saturating_add(count);
        self.finished = count == 0;
        Ok(searched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], most: usize) -> Vec<Result<String, &'static str>> {
        let mut reader = text;
        let mut lines = Lines::new(&mut reader, most);
        let mut found = Vec::new();
        while let Some(line) = lines.next() {
            found.push(
                line.map(|()| String::from_utf8_lossy(lines.line()).into_owned()).map_err(|fault| fault.code),
            );
        }
        found
    }

    #[test]
    fn ends_of_all_kinds_are_understood() {
        let lines = |text: &[u8]| read(text, 100).into_iter().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(lines(b"a\r\nb\n\nc"), ["a", "b", "", "c"]);
        assert_eq!(lines(b"a\n"), ["a"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_long_line_is_skipped_and_the_next_one_read() {
        let text = [&b"short\n"[..], &vec![b'x'; 400_000], b"\nnext\n"].concat();
        let found = read(&text, 1_000);
        assert_eq!(found, [Ok("short".to_owned()), Err("line.too_long"), Ok("next".to_owned())]);
    }
}
