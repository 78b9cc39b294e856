//! Whether two answers are the same: as sets of rows, texts exactly, numbers to a millionth.

/// What is different first; `None` when nothing is.
pub(crate) fn difference(ours: &[Vec<String>], theirs: &[Vec<String>]) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} rows and {} rows", ours.len(), theirs.len()));
    }
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    for (one, other) in ours.iter().zip(&theirs) {
        if one.len() != other.len() {
            return Some(format!("{} columns and {} columns", one.len(), other.len()));
        }
        if let Some((a, b)) = one.iter().zip(other.iter()).find(|(a, b)| !is_same(a, b)) {
            return Some(format!("{a:?} and {b:?} in the rows {one:?} and {other:?}"));
        }
    }
    None
}

/// Rows in an order that does not depend on the last digits of numbers.
fn sorted(rows: &[Vec<String>]) -> Vec<&Vec<String>> {
    let mut rows: Vec<&Vec<String>> = rows.iter().collect();
    rows.sort_by_cached_key(|row| {
        let texts: Vec<String> = row
            .iter()
            .map(|cell| match cell.parse::<f64>() {
                Ok(number) if number.fract() != 0.0 || cell.contains(['.', 'e', 'N', 'n']) => {
                    format!("{number:.4e}")
                }
                _ => cell.clone(),
            })
            .collect();
        // Whole numbers and texts name a row; other numbers only tell apart what those do not.
        let (names, numbers): (Vec<String>, Vec<String>) =
            texts.into_iter().partition(|text| !text.contains('e') || text.parse::<f64>().is_err());
        (names, numbers)
    });
    rows
}

fn is_same(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-6 * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn order_and_last_digits_do_not_matter() {
        let ours = rows(&[&["b", "2", "0.30000000004"], &["a", "1", "inf"]]);
        let theirs = rows(&[&["a", "1", "inf"], &["b", "2", "0.3"]]);
        assert_eq!(difference(&ours, &theirs), None);
    }

    #[test]
    fn what_differs_is_told() {
        let ours = rows(&[&["a", "1.0"]]);
        assert!(difference(&ours, &rows(&[&["a", "1.1"]])).is_some());
        assert!(difference(&ours, &rows(&[&["b", "1.0"]])).is_some());
        assert!(difference(&ours, &rows(&[])).is_some());
    }
}
