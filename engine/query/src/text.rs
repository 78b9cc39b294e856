//! Texts that people write SQL in: where each statement begins and ends, and what its words are. For prompts and for
//! files with several statements; the engine itself takes one statement at a time.

use std::ops::Range;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::error::QueryError;
use crate::guard::{QueryLimits, Request, read_statement};

/// The words of the language that a person writes in a query, to complete and to colour them.
pub const KEYWORDS: [&str; 72] = [
    "ALL",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BIGINT",
    "BOOLEAN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "CURRENT",
    "DATE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DOUBLE",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FIRST",
    "FOLLOWING",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "QUALIFY",
    "RANGE",
    "RIGHT",
    "ROWS",
    "SELECT",
    "SET",
    "SHOW",
    "TABLES",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "VARCHAR",
    "WHEN",
    "WHERE",
    "WITH",
];

/// One statement of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementText<'a> {
    /// Its text, without the semicolon and without blanks and comments before it.
    pub text: &'a str,
    /// The line that it begins on, from 1.
    pub line: usize,
    /// The column that it begins at in characters, from 1.
    pub column: usize,
    /// Whether a semicolon ends it.
    pub ended: bool,
}

impl StatementText<'_> {
    /// The statement with blanks before it, so that places in errors are places in the whole text.
    pub fn in_place(&self) -> String {
        let mut text = "\n".repeat(self.line - 1);
        text.push_str(&" ".repeat(self.column - 1));
        text.push_str(self.text);
        text
    }

    /// Key and value, when the statement is `SET key = value`.
    pub fn setting(&self) -> Option<(String, String)> {
        let first = self.text.split_whitespace().next()?;
        if !first.eq_ignore_ascii_case("SET") {
            return None;
        }
        let explain =
            |error: datafusion::common::DataFusionError| QueryError::Internal { message: error.to_string() };
        match read_statement(self.text, &QueryLimits::default(), &explain) {
            Ok(Request::Set { key, value }) => Some((key, value)),
            _ => None,
        }
    }
}

/// The statements of a text, by the tokens of the language: a semicolon in a string or in a comment ends nothing. What
/// cannot be read as tokens, such as a string without its end, belongs to the last statement.
pub fn statements(text: &str) -> Vec<StatementText<'_>> {
    let mut found = Vec::new();
    let mut begun: Option<(usize, usize, usize)> = None;
    let (tokens, whole) = tokens(text);
    let mut cursor = Cursor::new(text);
    let mut read_to = 0;
    for token in &tokens {
        let (start, end) = (cursor.advance(token.span.start), cursor.advance(token.span.end));
        read_to = end;
        match token.token {
            Token::SemiColon => {
                if let Some((begin, line, column)) = begun.take() {
                    found.push(StatementText {
                        text: text[begin..start].trim_end(),
                        line,
                        column,
                        ended: true,
                    });
                }
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => {
                let at = token.span.start;
                begun.get_or_insert((start, at.line as usize, at.column as usize));
            }
        }
    }
    if begun.is_none() && !whole {
        // It begins with what could not be read.
        let rest = text[read_to..].trim_start();
        let begin = text.len() - rest.len();
        let before = &text[..begin];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        begun = (!rest.is_empty()).then_some((begin, line, column));
    }
    if let Some((begin, line, column)) = begun {
        found.push(StatementText { text: text[begin..].trim_end(), line, column, ended: false });
    }
    found
}

/// Whether nothing is missing at the end of a text: its last statement has its semicolon.
pub fn is_complete(text: &str) -> bool {
    let (_, whole) = tokens(text);
    whole && statements(text).last().is_none_or(|last| last.ended)
}

/// What a part of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// One of [`KEYWORDS`].
    Keyword,
    /// A name of a table, a column, a function.
    Name,
    /// A string.
    Text,
    /// A number.
    Number,
    /// A comment.
    Comment,
}

/// The parts of a text with their places in bytes; blanks and signs are left out.
pub fn parts(text: &str) -> Vec<(Range<usize>, PartKind)> {
    let mut cursor = Cursor::new(text);
    let (tokens, _) = tokens(text);
    tokens
        .iter()
        .filter_map(|token| {
            let range = cursor.advance(token.span.start)..cursor.advance(token.span.end);
            let kind = match &token.token {
                Token::Word(word) if word.quote_style.is_none() && is_keyword(&word.value) => {
                    PartKind::Keyword
                }
                Token::Word(_) => PartKind::Name,
                Token::Number(..) => PartKind::Number,
                Token::SingleQuotedString(_)
                | Token::EscapedStringLiteral(_)
                | Token::NationalStringLiteral(_)
                | Token::DollarQuotedString(_) => PartKind::Text,
                Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                    PartKind::Comment
                }
                _ => return None,
            };
            Some((range, kind))
        })
        .collect()
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search(&word.to_uppercase().as_str()).is_ok()
}

/// The tokens of a text, and whether they are all of it.
fn tokens(text: &str) -> (Vec<TokenWithSpan>, bool) {
    let mut tokens = Vec::new();
    let read = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    (tokens, read.is_ok())
}

/// Turns lines and columns, which only go forward, into places in bytes.
struct Cursor<'a> {
    characters: std::iter::Peekable<std::str::CharIndices<'a>>,
    length: usize,
    at: (u64, u64),
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { characters: text.char_indices().peekable(), length: text.len(), at: (1, 1) }
    }

    fn advance(&mut self, to: Location) -> usize {
        while self.at < (to.line, to.column) {
            match self.characters.next() {
                Some((_, '\n')) => self.at = (self.at.0 + 1, 1),
                Some(_) => self.at.1 += 1,
                None => break,
            }
        }
        self.characters.peek().map_or(self.length, |(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(&str, usize, usize, bool)> {
        statements(text).iter().map(|s| (s.text, s.line, s.column, s.ended)).collect()
    }

    #[test]
    fn semicolons_in_strings_and_comments_end_nothing() {
        let text =
            "SELECT ';' AS a; -- not here;\n/* nor; here */ SELECT 2\n  ;;\n\nSELECT \"x;y\" -- the end";
        let expected = [
            ("SELECT ';' AS a", 1, 1, true),
            ("SELECT 2", 2, 17, true),
            ("SELECT \"x;y\" -- the end", 5, 1, false),
        ];
        assert_eq!(texts(text), expected);
        assert_eq!(texts(" ; -- nothing\n;"), []);
        assert_eq!(texts("é; ü;"), [("é", 1, 1, true), ("ü", 1, 4, true)]);
    }

    #[test]
    fn what_cannot_be_read_is_the_last_statement() {
        assert_eq!(
            texts("SELECT 1; SELECT 'open; SELECT 2;"),
            [("SELECT 1", 1, 1, true), ("SELECT 'open; SELECT 2;", 1, 11, false)]
        );
        assert_eq!(texts("SELECT 1;\n\n 'open"), [("SELECT 1", 1, 1, true), ("'open", 3, 2, false)]);
    }

    #[test]
    fn a_text_is_complete_with_its_last_semicolon() {
        for complete in ["", "  -- note", "SELECT 1;", "SELECT 1; -- done", "SELECT 1;\n\n"] {
            assert!(is_complete(complete), "{complete:?}");
        }
        for open in ["SELECT 1", "SELECT 1; SELECT", "SELECT 'a;", "SELECT 1 /* ;", "SELECT \";"] {
            assert!(!is_complete(open), "{open:?}");
        }
    }

    #[test]
    fn places_in_errors_are_places_in_the_file() {
        let text = "SELECT 1;\n  SELECT é, x;";
        let second = statements(text)[1];
        assert_eq!(second.in_place(), "\n  SELECT é, x");
        assert_eq!((second.line, second.column), (2, 3));
    }

    #[test]
    fn settings_are_read_by_the_parser() {
        let setting = |text: &str| statements(text)[0].setting();
        let pair = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
        assert_eq!(setting("set runlake.seed = 7;"), pair("runlake.seed", "7"));
        assert_eq!(setting("SET Runlake.Device = 'cpu'"), pair("runlake.device", "cpu"));
        assert_eq!(setting("SELECT 1"), None);
        assert_eq!(setting("SET"), None);
    }

    #[test]
    fn parts_have_their_kind_and_place() {
        let text = "SELECT 'é' AS name, 1.5 -- why";
        let shown: Vec<_> = parts(text).into_iter().map(|(range, kind)| (&text[range], kind)).collect();
        assert_eq!(
            shown,
            [
                ("SELECT", PartKind::Keyword),
                ("'é'", PartKind::Text),
                ("AS", PartKind::Keyword),
                ("name", PartKind::Name),
                ("1.5", PartKind::Number),
                ("-- why", PartKind::Comment),
            ]
        );
        assert!(KEYWORDS.is_sorted());
    }
}
