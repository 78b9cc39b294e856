//! A text of a client, taken apart into statements, those for the connection told from those for the engine.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientText {
    /// The statement as it was written, without the semicolon.
    pub sql: String,
    /// Characters of the text before it.
    pub offset: usize,
    /// What it is.
    pub statement: ClientStatement,
}

/// What a statement asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientStatement {
    /// Something for the engine, behind its guard.
    Query,
    /// The beginning of a transaction.
    Begin,
    /// Its end.
    Commit,
    /// Its end, thrown away.
    Rollback,
    /// Back to a savepoint: the transaction goes on.
    RollbackTo,
    /// `COPY`, which is not offered.
    Copy,
    /// `DECLARE name CURSOR FOR …`.
    Declare {
        /// The name of the cursor.
        name: String,
        /// What it reads.
        query: Box<ClientText>,
    },
    /// `FETCH … FROM name`.
    Fetch {
        /// The name of the cursor.
        name: String,
        /// How many rows, `None` for all that are left.
        most: Option<usize>,
    },
    /// `CLOSE name` of a cursor.
    CloseCursor(String),
    /// `SET name = value`.
    Set {
        /// The name as it was written.
        name: String,
        /// The value.
        value: SetValue,
    },
    /// `SHOW name` of a setting; the name as it was written.
    Show(String),
    /// `SHOW ALL`.
    ShowAll,
    /// `RESET ALL` and `DISCARD ALL`; the word that is answered.
    Reset(&'static str),
    /// `DEALLOCATE name`, all prepared statements without a name.
    Deallocate(Option<String>),
    /// Nothing that a reader of a lake needs, answered with this word.
    Accepted(&'static str),
}

/// The value of a `SET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetValue {
    /// Back to what it was.
    Default,
    /// This.
    Text(String),
}

/// The statements of a text. One that cannot be taken apart is one statement: the engine says what is wrong with it.
pub fn split(sql: &str) -> Vec<ClientText> {
    let whole = || vec![ClientText { sql: sql.to_owned(), offset: 0, statement: ClientStatement::Query }];
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else { return whole() };
    let positions = Positions::new(sql);
    let mut texts = Vec::new();
    let mut begin = 0;
    let mut words: Vec<TokenWithSpan> = Vec::new();
    let text = |begin: usize, end: usize, statement: ClientStatement| {
        let text = sql.get(begin..end)?.trim_start();
        let offset = sql.get(..end - text.len()).map_or(0, |before| before.chars().count());
        Some(ClientText { sql: text.trim_end().to_owned(), offset, statement })
    };
    let mut add = |begin: usize, end: usize, words: &mut Vec<TokenWithSpan>| {
        let words = std::mem::take(words);
        if words.is_empty() {
            return;
        }
        let cursor = cursor_of(&words).and_then(|(name, at)| {
            let begin = positions.byte(words[at].span.start.line, words[at].span.start.column);
            let query = text(begin, end, ClientStatement::Query)?;
            Some(ClientStatement::Declare { name, query: Box::new(query) })
        });
        let tokens: Vec<Token> = words.into_iter().map(|word| word.token).collect();
        let statement = cursor.unwrap_or_else(|| statement_of(&tokens));
        texts.extend(text(begin, end, statement));
    };
    for token in tokens {
        match token.token {
            Token::SemiColon => {
                let at = positions.byte(token.span.start.line, token.span.start.column);
                add(begin, at, &mut words);
                begin = at + 1;
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => words.push(token),
        }
    }
    add(begin, sql.len(), &mut words);
    texts
}

/// The name of a cursor that is declared, and at which word its query begins.
fn cursor_of(words: &[TokenWithSpan]) -> Option<(String, usize)> {
    let is = |at: usize, word: &str| {
        matches!(&words.get(at)?.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
            .then_some(())
    };
    is(0, "declare")?;
    let Token::Word(name) = &words.get(1)?.token else { return None };
    let cursor = (2..words.len().min(8)).find(|at| is(*at, "cursor").is_some())?;
    let query = (cursor + 1..words.len().min(cursor + 4)).find(|at| is(*at, "for").is_some())? + 1;
    (query < words.len()).then(|| (name.value.clone(), query))
}

/// The cursor of a `FETCH`, and how many rows; `None` when it does not go forward.
fn fetch_of(tokens: &[Token]) -> Option<(String, Option<usize>)> {
    let mut most = Some(1);
    let mut rest = tokens.get(1..)?;
    if let [Token::Word(word), after @ ..] = rest
        && ["next", "forward"].contains(&word.value.to_lowercase().as_str())
        && !after.is_empty()
    {
        rest = after;
    }
    match rest {
        [Token::Number(number, _), after @ ..] => (most, rest) = (Some(number.parse().ok()?), after),
        [Token::Word(word), after @ ..] if word.value.eq_ignore_ascii_case("all") => {
            (most, rest) = (None, after)
        }
        _ => {}
    }
    if let [Token::Word(word), after @ ..] = rest
        && ["from", "in"].contains(&word.value.to_lowercase().as_str())
    {
        rest = after;
    }
    match rest {
        [Token::Word(name)] => Some((name.value.clone(), most)),
        _ => None,
    }
}

/// Where lines begin.
struct Positions<'a> {
    sql: &'a str,
    lines: Vec<usize>,
}

impl<'a> Positions<'a> {
    fn new(sql: &'a str) -> Self {
        let breaks = sql.match_indices('\n').map(|(at, _)| at + 1);
        Self { sql, lines: std::iter::once(0).chain(breaks).collect() }
    }

    /// The byte at a line and a column, both from 1.
    fn byte(&self, line: u64, column: u64) -> usize {
        let line = usize::try_from(line).unwrap_or(1).max(1) - 1;
        let begin = self.lines.get(line).copied().unwrap_or(self.sql.len());
        let column = usize::try_from(column).unwrap_or(1).max(1) - 1;
        let rest = self.sql.get(begin..).unwrap_or_default();
        begin + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }
}

fn statement_of(tokens: &[Token]) -> ClientStatement {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_uppercase(),
        _ => String::new(),
    };
    let (first, second, third) = (word(0), word(1), word(2));
    match (first.as_str(), second.as_str()) {
        ("BEGIN", _) | ("START", "TRANSACTION") => ClientStatement::Begin,
        ("ROLLBACK", "TO") => ClientStatement::RollbackTo,
        ("ROLLBACK", "WORK" | "TRANSACTION") if third == "TO" => ClientStatement::RollbackTo,
        ("COPY", _) => ClientStatement::Copy,
        ("COMMIT" | "END", _) => ClientStatement::Commit,
        ("ROLLBACK" | "ABORT", _) => ClientStatement::Rollback,
        ("SAVEPOINT", _) => ClientStatement::Accepted("SAVEPOINT"),
        ("RELEASE", _) => ClientStatement::Accepted("RELEASE"),
        ("LISTEN", _) => ClientStatement::Accepted("LISTEN"),
        ("UNLISTEN", _) => ClientStatement::Accepted("UNLISTEN"),
        ("CLOSE", "ALL") => ClientStatement::Accepted("CLOSE CURSOR ALL"),
        ("CLOSE", _) if tokens.len() == 2 => ClientStatement::CloseCursor(name_of(&tokens[1..])),
        ("FETCH", _) => match fetch_of(tokens) {
            Some((name, most)) => ClientStatement::Fetch { name, most },
            None => ClientStatement::Query,
        },
        ("DISCARD", "ALL") => ClientStatement::Reset("DISCARD ALL"),
        ("DISCARD", _) => ClientStatement::Accepted("DISCARD"),
        ("RESET", "ALL") => ClientStatement::Reset("RESET"),
        ("RESET", _) => ClientStatement::Set { name: name_of(&tokens[1..]), value: SetValue::Default },
        ("DEALLOCATE", _) => {
            let name = tokens.get(if second == "PREPARE" { 2 } else { 1 });
            match name {
                Some(Token::Word(name)) if !name.value.eq_ignore_ascii_case("all") => {
                    ClientStatement::Deallocate(Some(name.value.clone()))
                }
                _ => ClientStatement::Deallocate(None),
            }
        }
        ("SHOW", "ALL") if tokens.len() == 2 => ClientStatement::ShowAll,
        ("SHOW", "TRANSACTION") => ClientStatement::Show("transaction_isolation".to_owned()),
        ("SHOW", "TIME") => ClientStatement::Show("TimeZone".to_owned()),
        ("SHOW", "TABLES" | "COLUMNS" | "FUNCTIONS" | "SCHEMAS" | "DATABASES" | "CREATE" | "VIEWS") => {
            ClientStatement::Query
        }
        ("SHOW", _) if tokens.len() > 1 => ClientStatement::Show(name_of(&tokens[1..])),
        ("SET", _) => set_of(tokens),
        _ => ClientStatement::Query,
    }
}

/// A name with dots, as it was written.
fn name_of(tokens: &[Token]) -> String {
    let part = |token: &Token| match token {
        Token::Word(word) => Some(word.value.clone()),
        Token::Period => Some(".".to_owned()),
        _ => None,
    };
    tokens.iter().map_while(part).collect()
}

fn set_of(tokens: &[Token]) -> ClientStatement {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => word.value.to_uppercase(),
        _ => String::new(),
    };
    let mut at = 1;
    match (word(1).as_str(), word(2).as_str()) {
        ("SESSION", "CHARACTERISTICS") | ("SESSION", "AUTHORIZATION") => {
            return ClientStatement::Accepted("SET");
        }
        ("LOCAL" | "SESSION", _) => at = 2,
        _ => {}
    }
    match (word(at).as_str(), word(at + 1).as_str()) {
        ("TRANSACTION" | "ROLE" | "CONSTRAINTS", _) => return ClientStatement::Accepted("SET"),
        ("TIME", "ZONE") => {
            let value = value_of(tokens.get(at + 2..).unwrap_or_default());
            return ClientStatement::Set { name: "TimeZone".to_owned(), value };
        }
        ("NAMES", _) => {
            let value = value_of(tokens.get(at + 1..).unwrap_or_default());
            return ClientStatement::Set { name: "client_encoding".to_owned(), value };
        }
        _ => {}
    }
    let rest = tokens.get(at..).unwrap_or_default();
    let is_sign = |token: &Token| {
        matches!(token, Token::Eq)
            || matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case("to"))
    };
    match rest.iter().position(is_sign) {
        Some(sign) if sign > 0 => {
            ClientStatement::Set { name: name_of(&rest[..sign]), value: value_of(&rest[sign + 1..]) }
        }
        // The engine says what is wrong with it.
        _ => ClientStatement::Query,
    }
}

fn value_of(tokens: &[Token]) -> SetValue {
    let shown = |token: &Token| match token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    };
    match tokens {
        [Token::Word(word)] if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") => {
            SetValue::Default
        }
        [] => SetValue::Default,
        [Token::Minus, number] => SetValue::Text(format!("-{}", shown(number))),
        _ => SetValue::Text(tokens.iter().map(shown).collect::<Vec<_>>().join("").replace(',', ", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(sql: &str) -> ClientStatement {
        let mut texts = split(sql);
        assert_eq!(texts.len(), 1, "{sql}");
        texts.remove(0).statement
    }

    #[test]
    fn semicolons_in_texts_and_comments_split_nothing() {
        let texts = split("SELECT ';' -- a;b\n;; SELECT \"ä;\" ; /* x; */ SELECT $$;$$");
        let parts: Vec<(&str, usize)> = texts.iter().map(|t| (t.sql.as_str(), t.offset)).collect();
        assert_eq!(parts, [("SELECT ';' -- a;b", 0), ("SELECT \"ä;\"", 21), ("/* x; */ SELECT $$;$$", 35)]);
        assert!(split(" ; -- nothing\n").is_empty());
        assert_eq!(split("SELECT 'unended; x").len(), 1);
    }

    #[test]
    fn settings_are_read_in_every_way_they_are_written() {
        let set = |name: &str, value: &str| ClientStatement::Set {
            name: name.to_owned(),
            value: SetValue::Text(value.to_owned()),
        };
        assert_eq!(only("SET extra_float_digits = 3"), set("extra_float_digits", "3"));
        assert_eq!(only("set session DateStyle to 'ISO'"), set("DateStyle", "ISO"));
        assert_eq!(only("SET LOCAL statement_timeout=-1"), set("statement_timeout", "-1"));
        assert_eq!(only("SET search_path TO public, pg_catalog"), set("search_path", "public, pg_catalog"));
        assert_eq!(only("SET TIME ZONE 'UTC'"), set("TimeZone", "UTC"));
        assert_eq!(only("SET NAMES 'utf8'"), set("client_encoding", "utf8"));
        assert_eq!(only("SET runlake.seed = 7"), set("runlake.seed", "7"));
        let default = ClientStatement::Set { name: "statement_timeout".to_owned(), value: SetValue::Default };
        assert_eq!(only("SET statement_timeout TO DEFAULT"), default);
        assert_eq!(only("RESET statement_timeout"), default);
        assert_eq!(only("SET"), ClientStatement::Query);
        assert_eq!(only("SET TRANSACTION READ ONLY"), ClientStatement::Accepted("SET"));
        assert_eq!(
            only("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
            ClientStatement::Accepted("SET")
        );
    }

    #[test]
    fn cursors_are_declared_over_a_query_and_read_forward() {
        let declared = only("DECLARE \"c\" NO SCROLL CURSOR WITHOUT HOLD FOR\n SELECT 1 FROM t");
        let ClientStatement::Declare { name, query } = declared else { panic!("{declared:?}") };
        assert_eq!((name.as_str(), query.sql.as_str(), query.offset), ("c", "SELECT 1 FROM t", 47));
        for (sql, expected) in [
            ("FETCH c", Some(1)),
            ("FETCH NEXT FROM c", Some(1)),
            ("FETCH FORWARD 10 FROM \"c\"", Some(10)),
            ("FETCH 5 IN c", Some(5)),
            ("FETCH ALL FROM c", None),
            ("FETCH FORWARD ALL FROM c", None),
        ] {
            let fetched = ClientStatement::Fetch { name: "c".to_owned(), most: expected };
            assert_eq!(only(sql), fetched, "{sql}");
        }
        assert_eq!(only("FETCH BACKWARD 1 FROM c"), ClientStatement::Query);
        assert_eq!(only("CLOSE c"), ClientStatement::CloseCursor("c".to_owned()));
        assert_eq!(only("DECLARE c CURSOR"), ClientStatement::Query);
    }

    #[test]
    fn transactions_and_the_rest_are_told_apart() {
        assert_eq!(only("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"), ClientStatement::Begin);
        assert_eq!(only("start transaction"), ClientStatement::Begin);
        assert_eq!(only("END"), ClientStatement::Commit);
        assert_eq!(only("ROLLBACK"), ClientStatement::Rollback);
        assert_eq!(only("ROLLBACK TO SAVEPOINT a"), ClientStatement::RollbackTo);
        assert_eq!(only("copy runs to stdout"), ClientStatement::Copy);
        assert_eq!(only("SHOW TABLES"), ClientStatement::Query);
        assert_eq!(only("SHOW server_version"), ClientStatement::Show("server_version".to_owned()));
        assert_eq!(
            only("SHOW TRANSACTION ISOLATION LEVEL"),
            ClientStatement::Show("transaction_isolation".to_owned())
        );
        assert_eq!(only("DISCARD ALL"), ClientStatement::Reset("DISCARD ALL"));
        assert_eq!(only("DEALLOCATE ALL"), ClientStatement::Deallocate(None));
        assert_eq!(only("DEALLOCATE PREPARE s1"), ClientStatement::Deallocate(Some("s1".to_owned())));
        assert_eq!(only("DROP TABLE runs"), ClientStatement::Query);
        assert_eq!(only("\"begin\""), ClientStatement::Query);
    }
}
