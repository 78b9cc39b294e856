//! `run_diff`: what is not the same in two runs.

use datafusion::common::Result;
use model::RunId;

use super::{Call, quoted};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, required};

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "run_diff",
    kind: FunctionKind::Table,
    summary: "What differs between two runs: params, tags, last values of metrics, and where they come from (kind is \
              'param', 'tag', 'metric' or 'run'). A NULL side does not have the key. Params that are equal as numbers, \
              such as 0.1 and 0.10, do not differ. difference is b - a for numbers.",
    parameters: &[
        required("a", ArgumentKind::Text, "the id of a run, or its name where only one run has it"),
        required("b", ArgumentKind::Text, "the other run"),
    ],
    returns: "table(kind, key, a, b, difference)",
    example: "SELECT kind, key, a, b FROM run_diff('small', 'large') ORDER BY kind, key",
};

/// Columns of `runs` that say where a run comes from.
const ATTRIBUTES: [&str; 5] = ["experiment", "status", "user", "source", "git_commit"];

pub(super) fn sql(call: &Call<'_>) -> Result<String> {
    let (a, b) = (facts(call.run("a")?), facts(call.run("b")?));
    // All names differ: where the engine swaps the sides of a join it takes columns of one name for one column.
    Ok(format!(
        "SELECT coalesce(kind_a, kind_b) AS kind, coalesce(key_a, key_b) AS key, text_a AS a, text_b AS b,
            number_b - number_a AS difference
        FROM (SELECT kind AS kind_a, key AS key_a, text AS text_a, number AS number_a FROM ({a}))
        FULL JOIN (SELECT kind AS kind_b, key AS key_b, text AS text_b, number AS number_b FROM ({b}))
        ON kind_a = kind_b AND key_a = key_b
        WHERE (text_a IS DISTINCT FROM text_b) AND ((number_a = number_b) IS NOT TRUE)
        ORDER BY 1, 2"
    ))
}

/// Everything known of a run: kind, key, text, number.
fn facts(run: RunId) -> String {
    let run = quoted(&run.to_string());
    let mut parts = vec![
        format!("SELECT 'param' AS kind, key, text, number FROM runlake.public.params WHERE run_id = {run}"),
        format!("SELECT 'tag', key, text, number FROM runlake.public.tags WHERE run_id = {run}"),
        format!(
            "SELECT 'metric', CASE WHEN context IS NULL THEN metric ELSE metric || ' ' || context END,
                CAST(last AS VARCHAR), last
            FROM runlake.public.series WHERE run_id = {run}"
        ),
    ];
    parts.extend(ATTRIBUTES.map(|column| {
        format!(
            "SELECT 'run', '{column}', \"{column}\", CAST(NULL AS DOUBLE)
            FROM runlake.public.runs WHERE run_id = {run}"
        )
    }));
    parts.join(" UNION ALL ")
}
