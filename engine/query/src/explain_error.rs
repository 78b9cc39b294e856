//! From the planner's errors to ours: finds the place in the statement and names that are near.

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Located, Place, QueryError};

/// What names there are, to suggest one.
pub(crate) struct Vocabulary<'a> {
    /// Tables as they can be written.
    pub(crate) tables: &'a dyn Fn() -> Vec<String>,
    /// Functions.
    pub(crate) functions: &'a dyn Fn() -> Vec<String>,
    /// The keys of params, tags and metrics.
    pub(crate) keys: &'a dyn Fn() -> Vec<String>,
    /// The memory that a statement may use, in bytes.
    pub(crate) memory_limit: usize,
}

/// The error that a user sees for an error of the engine.
pub(crate) fn explain(sql: &str, error: DataFusionError, vocabulary: &Vocabulary<'_>) -> QueryError {
    Explainer { sql, vocabulary }.explain(error, None)
}

struct Explainer<'a> {
    sql: &'a str,
    vocabulary: &'a Vocabulary<'a>,
}

impl Explainer<'_> {
    fn explain(&self, error: DataFusionError, span: Option<(usize, usize, usize)>) -> QueryError {
        match error {
            DataFusionError::Diagnostic(diagnostic, inner) => {
                let span = diagnostic.span.map(|span| {
                    let (start, end) = (span.start, span.end);
                    let width =
                        if start.line == end.line { end.column.saturating_sub(start.column) } else { 1 };
                    (start.line as usize, start.column as usize, width as usize)
                });
                self.explain(*inner, span)
            }
            DataFusionError::Context(_, inner) => self.explain(*inner, span),
            DataFusionError::Shared(inner) => match DataFusionError::find_root(&inner) {
                DataFusionError::ResourcesExhausted(_) => self.memory(),
                DataFusionError::External(source) => self.external(source.as_ref()),
                root => self.message(root.strip_backtrace(), span),
            },
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => self.explain(first, span),
                None => QueryError::Internal { message: "an error without content".to_owned() },
            },
            DataFusionError::SQL(error, _) => self.syntax(&error.to_string()),
            DataFusionError::SchemaError(error, _) => self.schema(*error, span),
            DataFusionError::ResourcesExhausted(_) => self.memory(),
            DataFusionError::External(source) => match source.downcast::<QueryError>() {
                Ok(ours) => *ours,
                Err(source) => self.external(source.as_ref()),
            },
            DataFusionError::ParquetError(error) => QueryError::Storage { message: error.to_string() },
            DataFusionError::ObjectStore(error) => QueryError::Storage { message: error.to_string() },
            DataFusionError::IoError(error) => QueryError::Storage { message: error.to_string() },
            DataFusionError::ArrowError(error, _) => {
                QueryError::Execution(Located { message: error.to_string(), ..Located::default() })
            }
            DataFusionError::Execution(message) => {
                QueryError::Execution(Located { message, place: self.place(span), hint: None })
            }
            DataFusionError::Internal(message) => QueryError::Internal { message: first_line(&message) },
            other => self.message(other.strip_backtrace(), span),
        }
    }

    fn memory(&self) -> QueryError {
        QueryError::Memory { limit_mib: self.vocabulary.memory_limit >> 20 }
    }

    fn external(&self, source: &(dyn std::error::Error + 'static)) -> QueryError {
        if let Some(ours) = source.downcast_ref::<QueryError>() {
            return ours.clone();
        }
        if let Some(mistake) = source.downcast_ref::<analysis::AnalysisError>() {
            return QueryError::Execution(Located { message: mistake.to_string(), ..Located::default() });
        }
        QueryError::Storage { message: source.to_string() }
    }

    fn place(&self, span: Option<(usize, usize, usize)>) -> Option<Place> {
        let (line, column, width) = span?;
        Place::new(self.sql, line, column, width)
    }

    fn place_of_word(&self, word: &str) -> Option<Place> {
        let tokens = tokens(self.sql);
        let found = tokens.iter().find(|t| match &t.token {
            Token::Word(w) => w.value.eq_ignore_ascii_case(word),
            Token::SingleQuotedString(text) => text == word,
            _ => false,
        })?;
        let (start, end) = (found.span.start, found.span.end);
        let width = end.column.saturating_sub(start.column);
        Place::new(self.sql, start.line as usize, start.column as usize, width as usize)
    }

    fn syntax(&self, message: &str) -> QueryError {
        let message = message.strip_prefix("sql parser error: ").unwrap_or(message);
        let message = message.strip_prefix("ParserError(\"").map_or(message, |m| m.trim_end_matches("\")"));
        if message.contains("recursion limit") {
            return QueryError::TooComplex { what: "levels of nesting", have: 65, limit: 64 };
        }
        let (text, place) = match message.split_once(" at Line: ") {
            Some((text, at)) => {
                let mut numbers =
                    at.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<usize>().ok());
                let place = numbers.next().zip(numbers.next()).and_then(|(line, column)| {
                    let width = self.word_width(line, column);
                    Place::new(self.sql, line, column, width)
                });
                (text, place)
            }
            None => (message, None),
        };
        let hint = text.contains("EOF").then(|| "The statement ends too early.".to_owned());
        QueryError::Syntax(Located { message: format!("syntax error: {}", lower_first(text)), place, hint })
    }

    fn word_width(&self, line: usize, column: usize) -> usize {
        let text = self.sql.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let word =
            text.chars().skip(column.saturating_sub(1)).take_while(|c| c.is_alphanumeric() || *c == '_');
        word.count().max(1)
    }

    fn schema(&self, error: SchemaError, span: Option<(usize, usize, usize)>) -> QueryError {
        match error {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let place = self.place(span).or_else(|| self.place_of_word(field.name()));
                let known: Vec<String> = valid_fields.iter().map(|f| f.name().to_owned()).collect();
                let of = field.relation.as_ref().map(|r| format!(" in {}", r.table())).unwrap_or_default();
                QueryError::UnknownColumn(Located {
                    message: format!("unknown column '{}'{of}", field.name()),
                    place,
                    hint: suggestion(field.name(), &known).or_else(|| known_names("The columns are", &known)),
                })
            }
            SchemaError::AmbiguousReference { field } => QueryError::Invalid(Located {
                message: format!("column '{}' is in more than one table", field.name()),
                place: self.place(span).or_else(|| self.place_of_word(field.name())),
                hint: Some("Write the table or its alias before it.".to_owned()),
            }),
            other => QueryError::Invalid(Located {
                message: other.to_string(),
                place: self.place(span),
                hint: None,
            }),
        }
    }

    /// Errors of which only the message tells what they are.
    fn message(&self, message: String, span: Option<(usize, usize, usize)>) -> QueryError {
        let message = message.strip_prefix("Error during planning: ").unwrap_or(&message);
        if let Some(name) = between(message, "table '", "' not found") {
            let short = name.strip_prefix("runlake.").unwrap_or(name);
            let shown = short.strip_prefix("public.").unwrap_or(short);
            let last = shown.rsplit('.').next().unwrap_or(shown);
            let tables = (self.vocabulary.tables)();
            return QueryError::UnknownTable(Located {
                message: format!("unknown table '{shown}'"),
                place: self.place(span).or_else(|| self.place_of_word(last)),
                hint: suggestion(shown, &tables).or_else(|| known_names("The tables are", &tables)),
            });
        }
        if let Some(name) = between(message, "Invalid function '", "'")
            .or_else(|| between(message, "table function '", "' not found"))
        {
            let mut functions = (self.vocabulary.functions)();
            functions.extend(crate::functions::definitions().iter().map(|d| d.name.to_owned()));
            return QueryError::UnknownFunction(Located {
                message: format!("unknown function '{name}'"),
                place: self.place(span).or_else(|| self.place_of_word(name)),
                hint: suggestion(name, &functions)
                    .or_else(|| Some("SELECT * FROM system.functions lists those of Runlake.".to_owned())),
            });
        }
        if let Some(key) = between(message, "Field ", " not found in struct") {
            let listed = "SELECT DISTINCT key FROM params (tags, or metric FROM series) lists the keys.";
            return QueryError::UnknownColumn(Located {
                message: format!("no run has the key '{key}'"),
                place: self.place_of_word(key),
                hint: suggestion(key, &(self.vocabulary.keys)()).or_else(|| Some(listed.to_owned())),
            });
        }
        if let Some(name) = between(message, "Unknown parameter name '", "'") {
            let known: Vec<String> = between(message, "Valid parameters are: [", "]")
                .map(|names| names.split(", ").map(str::to_owned).collect())
                .unwrap_or_default();
            return QueryError::Invalid(Located {
                message: format!("unknown argument '{name}'"),
                place: self.place_of_word(name),
                hint: suggestion(name, &known).or_else(|| known_names("The arguments are", &known)),
            });
        }
        // Our own checks of arguments come back wrapped in the engine's words.
        let message =
            between(message, "coercion failed with: Error during planning: ", ". No function matches")
                .unwrap_or(message);
        let located = Located { message: first_line(message), place: self.place(span), hint: None };
        QueryError::Invalid(located)
    }
}

/// The tokens of a statement; empty where it cannot be read.
pub(crate) fn tokens(sql: &str) -> Vec<TokenWithSpan> {
    Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap_or_default()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

fn first_line(message: &str) -> String {
    // The engine's internal errors go on with an invitation to report to its own project.
    message.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn known_names(beginning: &str, known: &[String]) -> Option<String> {
    const SHOWN: usize = 20;
    if known.is_empty() {
        return None;
    }
    let more = if known.len() > SHOWN { ", ..." } else { "." };
    Some(format!("{beginning}: {}{more}", known[..known.len().min(SHOWN)].join(", ")))
}

/// "Did you mean ...?" for the nearest known names.
pub(crate) fn suggestion(name: &str, known: &[String]) -> Option<String> {
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    let lower = name.to_lowercase();
    let mut near: Vec<(usize, &String)> = known
        .iter()
        .map(|k| (edit_distance(&lower, &k.to_lowercase()), k))
        .filter(|(d, _)| *d <= allowed)
        .collect();
    near.sort();
    near.dedup();
    let names: Vec<String> = near.iter().take(3).map(|(_, name)| format!("'{name}'")).collect();
    (!names.is_empty()).then(|| format!("Did you mean {}?", names.join(" or ")))
}

/// The least number of characters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 256;
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("stauts", "status"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("metric", "metrics"), 1);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["runs".to_owned(), "points".to_owned(), "params".to_owned()];
        assert_eq!(suggestion("run", &known).unwrap(), "Did you mean 'runs'?");
        assert_eq!(suggestion("customers", &known), None);
    }
}
