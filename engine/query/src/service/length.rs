//! Which statements are short: told from their words alone, before anything is parsed.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use model::RecordKind;

/// Longer texts are not looked at.
const TEXT_BYTES: usize = 16 << 10;
/// More tables than a question about a run or a project needs.
const JOINS: usize = 4;
/// What makes rows without end, or reads points.
const LONG: [&str; 5] = ["points", "range", "generate_series", "gen_series", "unnest"];
/// Tables that are in memory, beside those of records, and have a row for a run, a key, a series, or fewer.
const SHORT: [&str; 12] = [
    "runs",
    "series",
    "params",
    "tags",
    "experiments",
    "decisions",
    "notes",
    "imports",
    "system",
    "information_schema",
    "pg_catalog",
    "show",
];

/// Whether a statement only looks at what is in memory: a listing of runs, the latest values, the engine's own tables.
/// A wrong guess costs little: a long statement in a reserved slot holds up other short ones until its time is over.
pub(super) fn is_short(sql: &str) -> bool {
    if sql.len() > TEXT_BYTES {
        return false;
    }
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return false };
    let (mut short, mut joins) = (false, 0);
    for token in &tokens {
        let Token::Word(word) = token else { continue };
        let text = word.value.to_lowercase();
        if LONG.contains(&text.as_str()) {
            return false;
        }
        joins += usize::from(word.keyword == Keyword::JOIN);
        let describes = matches!(word.keyword, Keyword::DESCRIBE | Keyword::DESC | Keyword::SET);
        short |= describes || SHORT.contains(&text.as_str()) || text.parse::<RecordKind>().is_ok();
    }
    short && joins <= JOINS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_short_and_points_are_long() {
        for short in [
            "SELECT name FROM runs WHERE status = 'RUNNING'",
            "SELECT run_id, min FROM series WHERE metric = 'val/loss' ORDER BY min LIMIT 10",
            "SELECT * FROM system.queries",
            "select count(*) from vision.\"runs\" join params using (run_id)",
            "SELECT verdict FROM gates ORDER BY created DESC LIMIT 1",
            "SHOW TABLES",
            "DESCRIBE runs",
            "SELECT table_name FROM information_schema.tables",
        ] {
            assert!(is_short(short), "{short}");
        }
        for long in [
            "SELECT count(*) FROM points",
            "SELECT r.name FROM runs r JOIN \"points\" p USING (run_id)",
            "SELECT * FROM runs, range(1000000)",
            "SELECT 1",
            "SELECT 'runs",
            &format!("SELECT * FROM runs WHERE name IN ({})", vec!["'x'"; 10_000].join(",")),
            "SELECT 1 FROM runs a JOIN runs b JOIN runs c JOIN runs d JOIN runs e JOIN runs f",
        ] {
            assert!(!is_short(long), "{long}");
        }
    }
}
