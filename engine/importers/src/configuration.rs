//! Configuration that tools write beside their logs: a JSON or YAML file of nested values, as params.

use std::path::Path;

use jiter::JsonValue;

use crate::error::{ImportError, Result};
use crate::files;
use crate::json;
use crate::report::Reporter;
use crate::sink::Place;
use crate::yaml;

/// Params by their names.
pub(crate) type Params = Vec<(String, String)>;

/// The params in a file whose ending is `.json`, `.yaml` or `.yml`; keys of nested values are joined with dots. A file that
/// is not there has none; one that cannot be read is a rejection.
///
/// # Errors
/// Only errors of the sink.
pub(crate) fn params_in_file(file: &Path, reporter: &mut Reporter<'_>) -> Result<Params> {
    if !std::fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(Params::new());
    }
    let depth = reporter.limits.depth;
    let content = match files::read_whole(file, reporter.limits) {
        Ok(content) => content,
        Err(error) => {
            reporter.reject(file, Place::File, error.code(), || error.to_string())?;
            return Ok(Params::new());
        }
    };
    reporter.bytes.add(content.len());
    let read = if file.extension().is_some_and(|ending| ending == "json") {
        json::parse(&content).and_then(|value| params_of(&value, depth))
    } else {
        std::str::from_utf8(&content)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(|text| yaml::flat_params(text, depth))
    };
    match read {
        Ok(params) => Ok(params),
        Err(reason) => {
            let error = ImportError::unreadable(file, "a configuration", reason);
            reporter.reject(file, Place::File, error.code(), || error.to_string())?;
            Ok(Params::new())
        }
    }
}

/// The values of an object by their paths.
///
/// # Errors
/// The reason, when it is no object or is nested too deep.
pub(crate) fn params_of(value: &JsonValue<'_>, depth: usize) -> std::result::Result<Params, String> {
    let JsonValue::Object(object) = value else { return Err("it is no JSON object".to_owned()) };
    let mut params = Params::new();
    json::flatten(object, depth, &mut String::new(), &mut |key, value| {
        params.push((key.to_owned(), json::text_or_null(value, depth)));
    })
    .map_err(|key| format!("{key:?} is nested too deep"))?;
    Ok(params)
}
