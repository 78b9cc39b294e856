//! Models of OpenLM's scaling studies: `models/<name>.json` with `hyperparameters` and a list of `results`, each with its
//! `val_data`; and `evals/evaluation_<name>_*.json` with `eval_metrics`. A model is a run with one point a metric: `field @
//! data` for the results, `icl/<task>` for the tasks.

use std::path::{Path, PathBuf};

use jiter::JsonValue;

use crate::configuration::{Params, params_of};
use crate::error::{ImportError, Result};
use crate::files;
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::scored::{Score, Scored};
use crate::sink::Place;
use crate::source::{
    Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit,
    file_name_without_format,
};
use crate::table::TablePlan;

/// The source. The first file of a unit is the model, or its evaluation where only that is there.
pub(crate) struct OpenLm;

impl Source for OpenLm {
    fn kind(&self) -> SourceKind {
        SourceKind::OpenLm
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        if !file.name.ends_with(".json") {
            return Claim::No;
        }
        let text = String::from_utf8_lossy(file.beginning);
        let has = |key: &str| text.contains(key);
        let is_model = has("\"hyperparameters\"") && has("\"open_lm_args\"");
        let is_evaluation =
            has("\"eval_metrics\"") && has("\"uuid\"") && file.name.starts_with("evaluation_");
        if is_model || is_evaluation { Claim::Read } else { Claim::No }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let (mut evaluations, models): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| evaluated_model(&file.path).is_some());
        let mut found = Vec::new();
        let mut unit = |file: ClaimedFile, beside: Option<ClaimedFile>| {
            let root = search.root.parent().filter(|_| search.root.is_file()).unwrap_or(search.root);
            let name = file_name_without_format(root, &file.path);
            let bytes = beside.iter().fold(file.size, |sum, beside| sum.saturating_add(beside.size));
            let files: Vec<PathBuf> =
                std::iter::once(file.path.clone()).chain(beside.map(|file| file.path)).collect();
            let unit = Unit::new(self.kind(), file.path, name, files);
            found.push(FoundUnit { store: search.root.to_owned(), unit, bytes });
        };
        for model in models {
            let stem = model.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // `models` and `evals` stand side by side.
            let home = model.path.parent().and_then(Path::parent);
            let place = evaluations.iter().position(|file| {
                evaluated_model(&file.path).is_some_and(|name| name == stem)
                    && file.path.parent().and_then(Path::parent) == home
            });
            unit(model, place.map(|place| evaluations.remove(place)));
        }
        for evaluation in evaluations {
            unit(evaluation, None);
        }
        found.into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let mut run: Option<Scored> = None;
        let mut modified = 0;
        for file in &unit.files {
            let taken = files::open_regular(file, reporter.limits).and_then(|(_, metadata)| {
                let content = files::read_whole(file, reporter.limits)?;
                reporter.bytes.add(content.len());
                if run.is_none() {
                    modified = files::modified_micros(&metadata);
                }
                let run = run.get_or_insert_with(|| Scored::new(String::new(), unit.name.clone()));
                take(&content, run, reporter.limits.depth)
                    .map_err(|reason| ImportError::unreadable(file, "a model of OpenLM", reason))
            });
            if let Err(error) = taken {
                reporter.reject(file, Place::File, error.code(), || error.to_string())?;
            }
        }
        if let Some(run) = run {
            run.hand_on(unit, unit.files.first().unwrap_or(&unit.path), modified, reporter)?;
        }
        Ok(())
    }
}

/// The model that the name of an evaluation tells: `evaluation_<name>_<kind>.json`.
fn evaluated_model(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_string_lossy();
    let (name, _) = stem.strip_prefix("evaluation_")?.rsplit_once('_')?;
    Some(name.to_owned())
}

/// Takes what a file says of its model.
fn take(content: &[u8], run: &mut Scored, depth: usize) -> std::result::Result<(), String> {
    let document = json::parse(content)?;
    let JsonValue::Object(object) = &document else { return Err("the document is no object".to_owned()) };
    if let Some(hyperparameters) = json::get(object, "hyperparameters") {
        let params = params_of(hyperparameters, depth)?;
        run.params.extend(params);
        if let Some(JsonValue::Str(name)) = json::get(object, "name") {
            run.name = name.to_string();
        }
        run.tags.extend(labels(object));
    }
    let score = |metric: String, value: f64| Score {
        metric,
        step: Step::whole(0),
        time: None,
        value,
        place: Place::File,
    };
    if let Some(JsonValue::Array(results)) = json::get(object, "results") {
        for result in results.iter() {
            let JsonValue::Object(result) = result else { continue };
            let data = match json::get(result, "val_data") {
                Some(JsonValue::Array(names)) => names.first().and_then(|name| json::text(name, 1)),
                Some(name) => json::text(name, 1),
                None => None,
            };
            let data = data.unwrap_or_default();
            for (field, value) in result.iter() {
                run.scores.extend(json::number(value).map(|value| score(format!("{field} @ {data}"), value)));
            }
        }
    }
    if let Some(metrics @ JsonValue::Object(_)) = json::get(object, "eval_metrics") {
        json::sort_numbers(metrics, &mut String::new(), '/', depth, &mut |path, number| {
            run.scores.extend(number.map(|value| score(path.to_owned(), value)));
        })
        .map_err(|path| format!("{path:?} is nested too deep"))?;
    }
    Ok(())
}

/// Texts that say where the model comes from.
fn labels(object: &[(std::borrow::Cow<'_, str>, JsonValue<'_>)]) -> Params {
    let keys = ["dataset_name", "dataset_uuid", "uuid", "open_lm_version", "creation_date"];
    let text = |key: &&str| match json::get(object, key) {
        Some(JsonValue::Str(text)) => Some((format!("open_lm.{key}"), text.to_string())),
        _ => None,
    };
    keys.iter().filter_map(text).collect()
}
