//! From a text to one statement of an allowed kind.

use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{Expr, Set, Statement as SqlStatement, Value};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::limits::QueryLimits;
use crate::error::{Located, QueryError, Result};
use crate::functions::complete_named_arguments;
use crate::views::{ViewChange, change_of};

/// A statement that may go on.
#[derive(Debug)]
pub(crate) enum Request {
    /// A query, EXPLAIN of one, SHOW or DESCRIBE.
    Read(Box<Statement>),
    /// `SET key = value`.
    Set {
        /// The key, lowercase, with dots.
        key: String,
        /// The value as text.
        value: String,
    },
    /// A change of the kept views.
    View(ViewChange),
}

/// Reads a text: caps first, then parsing, then the kind of the one statement.
pub(crate) fn read_statement(
    sql: &str,
    limits: &QueryLimits,
    explain: &dyn Fn(DataFusionError) -> QueryError,
) -> Result<Request> {
    check_size(sql, limits)?;
    let mut parser = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(limits.nesting * 4)
        .build()
        .map_err(explain)?;
    let mut statements = parser.parse_statements().map_err(explain)?;
    if statements.len() != 1 {
        return Err(QueryError::StatementCount { count: statements.len() });
    }
    match statements.pop_front() {
        Some(statement) => allow(statement),
        None => Err(QueryError::StatementCount { count: 0 }),
    }
}

fn allow(statement: Statement) -> Result<Request> {
    match statement {
        Statement::Statement(mut sql) => match sql.as_mut() {
            SqlStatement::Query(_) => {
                complete_named_arguments(&mut sql);
                Ok(Request::Read(Box::new(Statement::Statement(sql))))
            }
            SqlStatement::Explain { statement, .. } => match statement.as_mut() {
                SqlStatement::Query(_) => {
                    complete_named_arguments(&mut sql);
                    Ok(Request::Read(Box::new(Statement::Statement(sql))))
                }
                other => Err(refuse(&format!("EXPLAIN of {}", first_word(&other.to_string())))),
            },
            SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ShowVariable { .. }
            | SqlStatement::ExplainTable { .. } => Ok(Request::Read(Box::new(Statement::Statement(sql)))),
            SqlStatement::Set(set) => read_set(set),
            other => match change_of(other) {
                Some(change) => Ok(Request::View(change?)),
                None => Err(refuse(&first_word(&other.to_string()))),
            },
        },
        Statement::Explain(mut explain) => match explain.statement.as_mut() {
            Statement::Statement(sql) if matches!(sql.as_ref(), SqlStatement::Query(_)) => {
                complete_named_arguments(sql);
                Ok(Request::Read(Box::new(Statement::Explain(explain))))
            }
            other => Err(refuse(&format!("EXPLAIN of {}", first_word(&other.to_string())))),
        },
        other => Err(refuse(&first_word(&other.to_string()))),
    }
}

fn refuse(what: &str) -> QueryError {
    QueryError::ReadOnly { what: what.to_owned() }
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or("this statement").to_uppercase()
}

fn read_set(set: &Set) -> Result<Request> {
    let Set::SingleAssignment { variable, values, .. } = set else {
        return Err(refuse(&set.to_string()));
    };
    let key = variable.to_string().to_lowercase();
    let value = match values.as_slice() {
        [Expr::Value(value)] => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        [other] => other.to_string(),
        _ => {
            let message = format!("SET {key} takes one value");
            return Err(QueryError::Setting(Located { message, ..Located::default() }));
        }
    };
    Ok(Request::Set { key, value })
}

/// Counts what makes parsing and planning expensive, before either begins.
fn check_size(sql: &str, limits: &QueryLimits) -> Result<()> {
    let too_complex = |what: &'static str, have: usize, limit: usize| {
        if have > limit { Err(QueryError::TooComplex { what, have, limit }) } else { Ok(()) }
    };
    too_complex("bytes of text", sql.len(), limits.text_bytes)?;
    // What cannot be split into tokens is left to the parser, which says why with its place.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let tokens: Vec<Token> = tokens.into_iter().filter(|t| !matches!(t, Token::Whitespace(_))).collect();
    too_complex("tokens", tokens.len(), limits.tokens)?;
    let (mut operators, mut joins, mut unions) = (0, 0, 0);
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let mut previous_is_end = false;
    for (position, token) in tokens.iter().enumerate() {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                operators += usize::from(matches!(token, Token::LBracket));
                depth += 1;
                deepest = deepest.max(depth);
            }
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR | Keyword::XOR | Keyword::NOT => operators += 1,
                Keyword::LIKE | Keyword::ILIKE | Keyword::SIMILAR | Keyword::BETWEEN | Keyword::IS => {
                    operators += 1
                }
                Keyword::WHEN | Keyword::COLLATE => operators += 1,
                Keyword::JOIN => joins += 1,
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => unions += 1,
                Keyword::CASE if !previous_is_end => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                Keyword::END => depth = depth.saturating_sub(1),
                _ => {}
            },
            Token::Comma | Token::Period | Token::SemiColon | Token::RArrow | Token::EOF => {}
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::Placeholder(_) => {}
            // The sign of a number in a list makes nothing deeper.
            Token::Minus | Token::Plus
                if matches!(tokens.get(position + 1), Some(Token::Number(..)))
                    && matches!(
                        position.checked_sub(1).and_then(|before| tokens.get(before)),
                        Some(Token::LParen | Token::LBracket | Token::Comma)
                    ) => {}
            // Everything else is an operator sign.
            _ => operators += 1,
        }
        previous_is_end = matches!(token, Token::Word(w) if w.keyword == Keyword::END);
    }
    too_complex("operators", operators, limits.operators)?;
    too_complex("levels of nesting", deepest, limits.nesting)?;
    too_complex("joins", joins, limits.joins)?;
    too_complex("unions", unions, limits.unions)
}
