//! Tables of the Algorithm Selection Library, as auto-sklearn keeps its meta-data: `algorithm_runs.arff` with a row for each
//! run of an algorithm on an instance, and `configurations.csv` beside it with what an algorithm is.
//!
//! Form of the rows from the library's format description 2.0; ARFF from Weka's. A missing value is `?`.

use std::collections::HashMap;
use std::path::Path;

use model::RunStatus;

use crate::configuration::Params;
use crate::error::{ImportError, Result, beginning};
use crate::files;
use crate::number::{Step, parse_number};
use crate::report::Reporter;
use crate::scored::{Score, Scored};
use crate::sink::Place;
use crate::source::{Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::table::csv::{Records, cell_text};
use crate::table::lines::Lines;

/// The source.
pub(crate) struct Aslib;

const RUNS: &str = "algorithm_runs.arff";
const CONFIGURATIONS: &str = "configurations.csv";

impl Source for Aslib {
    fn kind(&self) -> SourceKind {
        SourceKind::Aslib
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let claimed = file.name == RUNS || (file.name == CONFIGURATIONS && file.has_sibling(RUNS));
        if claimed { Claim::Read } else { Claim::No }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let units = files.into_iter().filter(|file| search.root.is_file() || file.path.ends_with(RUNS));
        let units = units.map(|ClaimedFile { path, size }| {
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            let mut files = vec![folder.join(RUNS)];
            let configurations = folder.join(CONFIGURATIONS);
            if std::fs::symlink_metadata(&configurations).is_ok_and(|metadata| metadata.is_file()) {
                files.push(configurations);
            }
            let name = search.folder_name(&folder);
            FoundUnit {
                store: search.root.to_owned(),
                unit: Unit::new(self.kind(), folder, name, files),
                bytes: size,
            }
        });
        units.collect::<Vec<_>>().into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let file = unit.path.join(RUNS);
        let configurations = match unit.files.get(1) {
            Some(file) => configurations(file, reporter)?,
            None => HashMap::new(),
        };
        let mut unpacked = files::open_lines(&file, reporter.limits, &reporter.bytes.clone())?;
        let modified = files::modified_micros(&unpacked.metadata);
        let mut lines = Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut in_data = false;
        while let Some(line) = lines.next() {
            let place = Place::Line(lines.number());
            if let Err(fault) = line {
                reporter.reject(&file, place, fault.code, || fault.message)?;
                continue;
            }
            let text = String::from_utf8_lossy(lines.line());
            let text = text.trim();
            if text.is_empty() || text.starts_with('%') {
                continue;
            }
            if !in_data {
                let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
                match word.to_ascii_lowercase().as_str() {
                    "@attribute" => attributes.extend(Attribute::of(rest)),
                    "@data" => in_data = true,
                    _ => {}
                }
                if attributes.len() > reporter.limits.columns {
                    let (what, limit) = ("the number of columns", reporter.limits.columns as u64);
                    return Err(ImportError::TooLarge { path: file, what, actual: limit + 1, limit });
                }
                continue;
            }
            match run_of(unit, place, &attributes, &cells(text)) {
                Some((algorithm, mut run)) => {
                    run.params.extend(configurations.get(&algorithm).into_iter().flatten().cloned());
                    run.hand_on(unit, &file, modified, reporter)?;
                }
                None => reporter.reject(&file, place, "row.malformed", || {
                    format!("the row does not name an instance and an algorithm: {:?}", beginning(text))
                })?,
            }
        }
        if in_data { Ok(()) } else { Err(ImportError::unreadable(&file, "ARFF", "it has no @DATA")) }
    }
}

/// A column.
struct Attribute {
    name: String,
    numeric: bool,
}

impl Attribute {
    fn of(rest: &str) -> Option<Self> {
        let rest = rest.trim();
        let quote = rest.chars().next().filter(|first| matches!(first, '\'' | '"'));
        let (name, kind) = match quote {
            Some(quote) => rest.get(1..)?.split_once(quote)?,
            None => rest.split_once(char::is_whitespace)?,
        };
        let numeric = ["numeric", "real", "integer"].contains(&kind.trim().to_ascii_lowercase().as_str());
        Some(Self { name: name.to_owned(), numeric })
    }
}

/// The cells of a row: between commas, in single or double quotes with `\` before a quote.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quote: Option<char> = None;
    let mut characters = row.chars();
    while let Some(character) = characters.next() {
        let Some(cell) = cells.last_mut() else { break };
        match (character, quote) {
            ('\\', Some(_)) => cell.extend(characters.next()),
            (character, Some(open)) if character == open => quote = None,
            (character, Some(_)) => cell.push(character),
            ('\'' | '"', None) if cell.trim().is_empty() => quote = Some(character),
            (',', None) => cells.push(String::new()),
            (character, None) => cell.push(character),
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The run of a row and its algorithm: what stands behind the algorithm and is numeric was measured.
fn run_of(unit: &Unit, place: Place, attributes: &[Attribute], cells: &[String]) -> Option<(String, Scored)> {
    let find = |name: &str| attributes.iter().position(|attribute| attribute.name.eq_ignore_ascii_case(name));
    let text = |index: usize| cells.get(index).map(String::as_str).filter(|text| !matches!(*text, "" | "?"));
    let algorithm_at = find("algorithm")?;
    let (instance, algorithm) = (text(find("instance_id")?)?, text(algorithm_at)?);
    let repetition = find("repetition").and_then(text).and_then(parse_number).unwrap_or(1.0);
    let mut key = format!("{instance}/{algorithm}");
    if repetition != 1.0 {
        key.push_str(&format!("/{repetition}"));
    }
    let mut run = Scored::new(key.clone(), format!("{}/{key}", unit.name));
    for (name, value) in [("aslib.instance", instance), ("aslib.algorithm", algorithm)] {
        run.tags.push((name.to_owned(), value.to_owned()));
    }
    for (index, attribute) in attributes.iter().enumerate().skip(algorithm_at.saturating_add(1)) {
        let Some(cell) = text(index) else { continue };
        match parse_number(cell).filter(|_| attribute.numeric) {
            Some(value) => {
                let (metric, step) = (attribute.name.clone(), Step::whole(0));
                run.scores.push(Score { metric, step, time: None, value, place });
            }
            None => {
                if attribute.name.eq_ignore_ascii_case("runstatus") && cell != "ok" {
                    run.status = RunStatus::Failed;
                }
                run.tags.push((format!("aslib.{}", attribute.name), cell.to_owned()));
            }
        }
    }
    Some((algorithm.to_owned(), run))
}

/// The params of each algorithm by its `idx`; an empty cell is a param that is not active.
fn configurations(file: &Path, reporter: &mut Reporter<'_>) -> Result<HashMap<String, Params>> {
    let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
    let mut rows = Records::new(&mut unpacked.reader, b',', reporter.limits);
    let mut names: Option<(usize, Vec<String>)> = None;
    let mut found = HashMap::new();
    while let Some(row) = rows.next() {
        let place = Place::Line(rows.line());
        if let Err(fault) = row {
            reporter.reject(file, place, fault.code, || fault.message)?;
            continue;
        }
        let cells: Vec<String> =
            (0..rows.len()).map(|index| cell_text(rows.cell(index)).0.into_owned()).collect();
        let Some((id, names)) = &names else {
            let Some(id) = cells.iter().position(|name| name == "idx") else {
                reporter.reject(file, place, "header.malformed", || "there is no column idx".to_owned())?;
                break;
            };
            names = Some((id, cells));
            continue;
        };
        let Some(algorithm) = cells.get(*id) else { continue };
        let params = names.iter().zip(&cells).enumerate();
        let params = params.filter(|(index, (_, value))| index != id && !value.is_empty());
        let params: Params = params.map(|(_, (name, value))| (name.clone(), value.clone())).collect();
        found.insert(algorithm.clone(), params);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_missing_values_of_arff() {
        assert_eq!(cells(r#"a, 'b, \'c' ,"d",?,"#), ["a", "b, 'c", "d", "?", ""]);
        let attribute = Attribute::of("'my time' REAL").unwrap();
        assert_eq!((attribute.name.as_str(), attribute.numeric), ("my time", true));
        assert!(!Attribute::of("runstatus {ok, crash}").unwrap().numeric);
        assert!(Attribute::of("alone").is_none());
    }
}
