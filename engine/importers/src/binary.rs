//! Files that hold no text, told by what they begin with.

/// The beginnings of common kinds of files, and what to call them.
const KINDS: [(&[u8], &str); 20] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xfd7zXZ\0", "data packed by xz"),
    (b"\x04\x22\x4d\x18", "data packed by LZ4"),
    (b"\x1f\x9d", "data packed by compress"),
    (b"\x89PNG\r\n\x1a\n", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF87a", "an image"),
    (b"GIF89a", "an image"),
    (b"%PDF-", "a PDF document"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x80\x02", "a pickle of Python, which is never read: it may run code"),
    (b"\x80\x03", "a pickle of Python, which is never read: it may run code"),
    (b"\x80\x04\x95", "a pickle of Python, which is never read: it may run code"),
    (b"\x80\x05\x95", "a pickle of Python, which is never read: it may run code"),
    (b"Obj\x01", "an Avro file"),
    (b"\x7fELF", "a program"),
];

/// What a file is, as far as its beginning tells; `None` for what may be text.
pub(crate) fn kind_of(beginning: &[u8]) -> Option<&'static str> {
    // Bzip2 says how large its blocks are between its mark and that of the first block.
    if let [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] = beginning
        && rest.starts_with(b"1AY&SY")
    {
        return Some("data packed by bzip2");
    }
    KINDS.iter().find(|(mark, _)| beginning.starts_with(mark)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_of_no_kind() {
        for text in [&b"step,loss\n"[..], b"{\"a\": 1}", b"P,K\n1,2\n", b"BZh1,x\n", b"GIF8,x\n", b""] {
            assert_eq!(kind_of(text), None);
        }
        assert_eq!(kind_of(b"BZh91AY&SY"), Some("data packed by bzip2"));
        assert_eq!(kind_of(b"PK\x03\x04\x14\0"), Some("a zip archive"));
    }
}
