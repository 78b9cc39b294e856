//! Which runs are meant: the selectors of `runlake gate` as a condition of SQL on `runs`.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::ast::{TableFactor, Visit, Visitor};
use model::{ProjectName, RunId};

use super::{Call, quoted};

/// The longest selector; what it holds is not counted by the guard.
const LENGTH_MAX: usize = 4_096;

/// The condition of the selector in an argument.
pub(super) fn condition(call: &Call<'_>, argument: &str) -> Result<String> {
    let text = call.text(argument)?;
    if text.len() > LENGTH_MAX {
        return plan_err!(
            "argument '{argument}' has {} bytes, the limit is {LENGTH_MAX}: select by a tag",
            text.len()
        );
    }
    let mut parts = Vec::new();
    let mut names_ids = false;
    for (position, part) in text.split(" & ").map(str::trim).enumerate() {
        names_ids |= position == 0 && ids(part).is_some();
        parts.push(of_part(part, argument, call.state)?);
    }
    if !names_ids {
        parts.push("NOT deleted".to_owned());
    }
    Ok(parts.join(" AND "))
}

fn of_part(part: &str, argument: &str, state: &SessionState) -> Result<String> {
    let pair = |text: &str| -> Result<(String, String)> {
        match text.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => plan_err!("argument '{argument}': write {part} with KEY=VALUE"),
        }
    };
    if part.is_empty() {
        return plan_err!(
            "argument '{argument}' is empty; give run ids, tag:KEY=VALUE, param:KEY=VALUE, experiment:NAME or a condition on runs"
        );
    }
    if let Some(rest) = part.strip_prefix("tag:") {
        let (key, value) = pair(rest)?;
        return Ok(with_key("tags", &key, &format!("text = {}", quoted(&value))));
    }
    if let Some(rest) = part.strip_prefix("param:") {
        let (key, value) = pair(rest)?;
        let equal = match value.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => {
                format!("(text = {} OR number = CAST('{number:?}' AS DOUBLE))", quoted(&value))
            }
            _ => format!("text = {}", quoted(&value)),
        };
        return Ok(with_key("params", &key, &equal));
    }
    if let Some(rest) = part.strip_prefix("experiment:") {
        return Ok(match rest.split_once('/') {
            Some((project, name)) if ProjectName::new(project).is_ok() && !name.is_empty() => {
                format!("(project = {} AND experiment = {})", quoted(project), quoted(name))
            }
            _ => format!("experiment = {}", quoted(rest)),
        });
    }
    if let Some(ids) = ids(part) {
        let ids: Vec<String> = ids.iter().map(|id| quoted(&id.to_string())).collect();
        return Ok(format!("run_id IN ({})", ids.join(", ")));
    }
    // Read as one expression and written anew, so that it cannot end the query around it.
    let dialect = state.config_options().sql_parser.dialect;
    let condition = state.sql_to_expr(part, &dialect)?;
    if condition.visit(&mut CallsInFrom).is_break() {
        return plan_err!("argument '{argument}' may not call a function in FROM: select by run ids instead");
    }
    Ok(format!("({condition})"))
}

/// Stops at a function in FROM: calls within calls would multiply.
pub(super) struct CallsInFrom;

impl Visitor for CallsInFrom {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::Table { args: None, .. } | TableFactor::Derived { .. } => ControlFlow::Continue(()),
            TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

fn ids(part: &str) -> Option<Vec<RunId>> {
    part.split(',').map(|id| id.trim().parse().ok()).collect()
}

fn with_key(table: &str, key: &str, condition: &str) -> String {
    format!(
        "run_id IN (SELECT run_id FROM runlake.public.{table} WHERE key = {} AND {condition})",
        quoted(key)
    )
}

#[cfg(test)]
mod tests {
    use datafusion::execution::session_state::SessionStateBuilder;

    use super::*;

    fn written(part: &str) -> std::result::Result<String, String> {
        let state = SessionStateBuilder::new().build();
        of_part(part, "candidate", &state).map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_is_told_apart() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(written(id).unwrap(), format!("run_id IN ('{id}')"));
        assert_eq!(
            written("tag:team=it's").unwrap(),
            "run_id IN (SELECT run_id FROM runlake.public.tags WHERE key = 'team' AND text = 'it''s')"
        );
        assert!(written("param:lr=1e-3").unwrap().contains("number = CAST('0.001' AS DOUBLE)"));
        assert_eq!(
            written("experiment:vision/lr sweep").unwrap(),
            "(project = 'vision' AND experiment = 'lr sweep')"
        );
        assert_eq!(written("status = 'FINISHED'").unwrap(), "(status = 'FINISHED')");
    }

    #[test]
    fn a_condition_is_one_expression() {
        for bad in ["", "true) OR (true", "true; DROP TABLE runs", "true UNION SELECT 1", "tag:team", "a b c"]
        {
            assert!(written(bad).is_err(), "{bad}: {:?}", written(bad));
        }
        for call in
            ["run_id IN (SELECT key FROM run_diff('a', 'b'))", "seed IN (SELECT * FROM range(9) AS r(v))"]
        {
            assert!(written(call).unwrap_err().contains("may not call a function in FROM"), "{call}");
        }
        assert!(written("run_id IN (SELECT run_id FROM tags WHERE key = 'x')").is_ok());
        // A comment swallows nothing: the text is written anew.
        assert_eq!(written("seed = 1 -- and more").unwrap(), "(seed = 1)");
    }
}
