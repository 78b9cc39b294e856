//! Sizes of memory as people write them.

/// Bytes of a text such as `512MB`, `2GB`, `1.5GiB` or `300000000`; `MB` and `GB` are decimal, `MiB` and `GiB` binary.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || "say a size such as 512MB, 2GB or 1.5GiB".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "kib" => 1024.0,
        "m" | "mb" => 1e6,
        "mib" => 1024.0 * 1024.0,
        "g" | "gb" => 1e9,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    // A cast of a number that is too large gives the largest one.
    Ok((number * factor) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_or_binary_and_needed_words_are_told() {
        for (text, size) in [
            ("512MB", 512_000_000),
            ("512 mb", 512_000_000),
            ("1.5GiB", 1_610_612_736),
            ("2g", 2_000_000_000),
            ("300000000", 300_000_000),
            ("64KiB", 65_536),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for wrong in ["", "MB", "-1MB", "1TB x", "1.2.3MB", "0x10"] {
            assert!(bytes(wrong).unwrap_err().contains("512MB"), "{wrong}");
        }
    }
}
