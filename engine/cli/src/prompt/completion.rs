//! What may stand at the cursor: decided by the words around it.

use std::collections::BTreeSet;
use std::ops::Range;

use clap::ValueEnum;
use runlake::query::text::{self, PartKind};
use runlake::query::{Settings, functions};

use super::commands::COMMANDS;
use super::vocabulary::Vocabulary;
use crate::output::Format;

/// Candidates that are listed at most.
const MOST: usize = 400;
/// The struct columns of `runs`.
const STRUCTS: [&str; 3] = ["params", "tags", "metrics"];

/// Where the word at the cursor begins, and what may stand in its place.
pub(super) fn complete(line: &str, cursor: usize, names: &Vocabulary) -> (usize, Vec<String>) {
    let before = &line[..cursor];
    if let Some(command) = before.strip_prefix('\\') {
        return complete_command(before, command, names);
    }
    if let Some(found) = complete_quoted_key(before, names) {
        return found;
    }
    let begin = before
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = &before[begin..];
    let candidates = match word.rsplit_once('.') {
        Some((owner, part)) => after_dot(line, owner, part, names),
        None => bare(line, &before[..begin], word, names),
    };
    (begin, candidates.into_iter().take(MOST).collect())
}

fn complete_command(before: &str, command: &str, names: &Vocabulary) -> (usize, Vec<String>) {
    let Some((name, argument)) = command.split_once(' ') else {
        let found: BTreeSet<&str> =
            COMMANDS.iter().map(|(name, ..)| *name).filter(|name| name.starts_with(before)).collect();
        return (0, found.into_iter().map(str::to_owned).collect());
    };
    let begin = before.len() - argument.len();
    let all: Vec<String> = match name {
        "d" => tables(names).into_iter().collect(),
        "df" => functions::definitions().iter().map(|function| function.name.to_owned()).collect(),
        "format" => Format::value_variants()
            .iter()
            .filter(|format| !matches!(format, Format::Arrow | Format::Parquet))
            .filter_map(|format| Some(format.to_possible_value()?.get_name().to_owned()))
            .collect(),
        _ => Vec::new(),
    };
    (begin, all.into_iter().filter(|candidate| candidate.starts_with(argument)).collect())
}

/// `params['lr` and what may end it.
fn complete_quoted_key(before: &str, names: &Vocabulary) -> Option<(usize, Vec<String>)> {
    let (owner, part) = before.rsplit_once("['")?;
    if part.contains('\'') {
        return None;
    }
    let owner = owner.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    let keys = names.keys.get(&owner.to_lowercase())?;
    let fits = keys.iter().filter(|key| key.starts_with(part)).take(MOST);
    Some((before.len() - part.len(), fits.map(|key| format!("{}']", key.replace('\'', "''"))).collect()))
}

/// What may follow a dot: keys of a struct, tables of a schema, columns of a table or of what it is called here.
fn after_dot(line: &str, owner: &str, part: &str, names: &Vocabulary) -> Vec<String> {
    let last = owner.rsplit('.').next().unwrap_or(owner).to_lowercase();
    let fits = |name: &String| starts_with(name, part);
    let dotted = |name: &String| format!("{owner}.{}", written(name));
    if STRUCTS.contains(&last.as_str()) && !is_table_here(line, owner) {
        let keys = names.keys.get(&last).into_iter().flatten().filter(|key| fits(key));
        return keys
            .map(|key| match is_plain(key) {
                true => format!("{owner}.{key}"),
                false => format!("{owner}['{}']", key.replace('\'', "''")),
            })
            .collect();
    }
    if last == "runlake" {
        return settings().into_iter().filter(|key| starts_with(key, &format!("{owner}.{part}"))).collect();
    }
    if let Some(tables) = names.tables.get(&last) {
        return tables.iter().filter(|name| fits(name)).map(dotted).collect();
    }
    let table = aliases(line).into_iter().find(|(alias, _)| *alias == last).map_or(last, |(_, table)| table);
    names.columns.get(&table).into_iter().flatten().filter(|name| fits(name)).map(dotted).collect()
}

/// What may stand where no dot is.
fn bare(line: &str, before: &str, part: &str, names: &Vocabulary) -> Vec<String> {
    let previous = before.split_whitespace().next_back().unwrap_or_default().to_uppercase();
    let mut found: BTreeSet<String> = BTreeSet::new();
    if matches!(previous.as_str(), "FROM" | "JOIN" | "DESCRIBE") {
        found.extend(tables(names).into_iter().filter(|name| starts_with(name, part)));
        found.extend(names.tables.keys().filter(|name| starts_with(name, part)).map(|name| written(name)));
        return found.into_iter().collect();
    }
    if previous == "SET" {
        return settings().into_iter().filter(|key| starts_with(key, part)).collect();
    }
    let here: Vec<String> = aliases(line).into_iter().map(|(_, table)| table).collect();
    let of_here = names.columns.iter().filter(|(table, _)| here.is_empty() || here.contains(table));
    let columns = of_here.flat_map(|(_, columns)| columns);
    found.extend(columns.filter(|name| starts_with(name, part)).map(|name| written(name)));
    if part.is_empty() {
        return found.into_iter().collect();
    }
    found.extend(tables(names).into_iter().filter(|name| starts_with(name, part)));
    let functions = names.functions.iter().filter(|name| starts_with(name, part));
    found.extend(functions.map(|name| format!("{name}(")));
    let upper = part.chars().all(char::is_uppercase);
    let keywords = text::KEYWORDS.iter().filter(|word| starts_with(word, part));
    found.extend(keywords.map(|word| if upper { (*word).to_owned() } else { word.to_lowercase() }));
    found.into_iter().collect()
}

fn settings() -> Vec<String> {
    Settings::KEYS.iter().map(|key| (*key).to_owned()).collect()
}

/// Tables as they are written: without a schema where that is `public`.
fn tables(names: &Vocabulary) -> BTreeSet<String> {
    let of = |schema: &str| names.tables.get(schema).into_iter().flatten();
    of("public").map(|name| written(name)).chain(of("system").map(|name| format!("system.{name}"))).collect()
}

/// What tables are called in a statement, with the tables.
fn aliases(line: &str) -> Vec<(String, String)> {
    let parts = text::parts(line);
    let word = |at: usize| parts.get(at).map(|(range, _)| &line[range.clone()]);
    let name =
        |at: usize| parts.get(at).filter(|(_, kind)| *kind == PartKind::Name).map(|(range, _)| range.clone());
    let lower = |range: Range<usize>| line[range].trim_matches('"').to_lowercase();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(text) = word(at) {
        at += 1;
        if !(text.eq_ignore_ascii_case("from") || text.eq_ignore_ascii_case("join")) {
            continue;
        }
        while let Some(mut table) = name(at) {
            at += 1;
            while line[table.end..].starts_with('.')
                && let Some(next) = name(at)
            {
                (table, at) = (next, at + 1);
            }
            let mut end = table.end;
            let table = lower(table);
            found.push((table.clone(), table.clone()));
            if word(at).is_some_and(|text| text.eq_ignore_ascii_case("as")) {
                end = parts[at].0.end;
                at += 1;
            }
            if let Some(alias) = name(at).filter(|alias| line[end..alias.start].trim().is_empty()) {
                (end, at) = (alias.end, at + 1);
                found.push((lower(alias), table));
            }
            if !line[end..].trim_start().starts_with(',') {
                break;
            }
        }
    }
    found
}

/// Whether a name is that of a table in this statement, as in `FROM params WHERE params.key`.
fn is_table_here(line: &str, owner: &str) -> bool {
    aliases(line).iter().any(|(alias, _)| alias.eq_ignore_ascii_case(owner))
}

fn starts_with(name: &str, part: &str) -> bool {
    name.get(..part.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(part))
}

/// A plain word needs no quotes.
fn is_plain(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn written(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vocabulary {
        let mut names = Vocabulary::default();
        for (kind, of, name) in [
            ("table", "public", "runs"),
            ("table", "public", "points"),
            ("table", "public", "params"),
            ("table", "system", "queries"),
            ("table", "vision", "runs"),
            ("column", "runs", "name"),
            ("column", "runs", "params"),
            ("column", "points", "value"),
            ("column", "params", "key"),
            ("column", "queries", "state"),
            ("key", "params", "lr"),
            ("key", "params", "opt/lr"),
            ("key", "params", "Layers"),
            ("key", "metrics", "val/acc"),
            ("function", "", "mean_ci"),
            ("function", "", "median"),
        ] {
            names.add(kind, of, name);
        }
        names
    }

    /// The line after the completion of `|` for each candidate.
    fn lines(line: &str) -> Vec<String> {
        let cursor = line.find('|').unwrap();
        let whole = line.replace('|', "");
        let (begin, candidates) = complete(&whole, cursor, &names());
        candidates.iter().map(|candidate| format!("{}{candidate}", &whole[..begin])).collect()
    }

    #[test]
    fn tables_follow_from_and_join() {
        assert_eq!(lines("SELECT * FROM r|"), ["SELECT * FROM runs"]);
        assert_eq!(lines("SELECT * FROM vision.|"), ["SELECT * FROM vision.runs"]);
        assert_eq!(
            lines("select * from runs join sys|"),
            ["select * from runs join system", "select * from runs join system.queries"]
        );
    }

    #[test]
    fn columns_are_those_of_the_tables_that_are_named() {
        assert_eq!(lines("SELECT na| FROM runs"), ["SELECT name"]);
        assert_eq!(lines("SELECT val| FROM runs"), ["SELECT values"]);
        assert_eq!(lines("SELECT r.n| FROM runs AS r JOIN points p"), ["SELECT r.name"]);
        assert_eq!(lines("SELECT p.| FROM runs r JOIN points p"), ["SELECT p.value"]);
        assert_eq!(lines("SELECT params.| FROM params"), ["SELECT params.key"]);
        assert_eq!(lines("SELECT st| FROM system.queries"), ["SELECT state"]);
        assert_eq!(lines("SELECT st| FROM runs r, system.queries AS q"), ["SELECT state"]);
        assert_eq!(lines("SELECT q.| FROM runs r, system.queries AS q"), ["SELECT q.state"]);
    }

    #[test]
    fn keys_are_quoted_where_they_are_no_plain_word() {
        assert_eq!(lines("SELECT params.l| FROM runs"), ["SELECT params['Layers']", "SELECT params.lr"]);
        assert_eq!(lines("SELECT r.params.o| FROM runs r"), ["SELECT r.params['opt/lr']"]);
        assert_eq!(lines("SELECT metrics['v|"), ["SELECT metrics['val/acc']"]);
        assert_eq!(lines("SELECT params['|").len(), 3);
    }

    #[test]
    fn functions_keywords_settings_and_commands() {
        assert_eq!(lines("SELECT me|"), ["SELECT mean_ci(", "SELECT median("]);
        assert_eq!(lines("SEL|"), ["SELECT"]);
        assert_eq!(lines("sel|"), ["select"]);
        assert_eq!(lines("SET runlake.s|"), ["SET runlake.seed"]);
        assert_eq!(lines("SET |").len(), 3);
        assert_eq!(lines("\\f|"), ["\\format"]);
        assert_eq!(lines("\\format c|"), ["\\format csv"]);
        assert_eq!(lines("\\d po|"), ["\\d points"]);
        assert!(lines("SELECT 'é|").is_empty());
    }
}
