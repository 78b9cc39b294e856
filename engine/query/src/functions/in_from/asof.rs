//! `asof`: two metrics of a run side by side.

use datafusion::common::Result;

use super::{Call, RUN, quoted};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, required};

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "asof",
    kind: FunctionKind::Table,
    summary: "Every point of metric a of a run, with the last point of metric b at its step or before: an as-of join. b is \
              NULL before the first point of b; at equal steps of b the latest counts. Where b has several contexts, \
              there is a row for each of them.",
    parameters: &[
        RUN,
        required("metric_a", ArgumentKind::Text, "the metric that gives the rows"),
        required("metric_b", ArgumentKind::Text, "the metric that is looked up"),
    ],
    returns: "table(step, time, context_a, a, context_b, b, b_step)",
    example: "SELECT step, a, b, b_step FROM asof('small', 'val_loss', 'val/acc') ORDER BY step",
};

pub(super) fn sql(call: &Call<'_>) -> Result<String> {
    let run = quoted(&call.run("run")?.to_string());
    let (a, b) = (quoted(call.text("metric_a")?), quoted(call.text("metric_b")?));
    // Points of both in one order: each of a takes the last of b that stands before it.
    Ok(format!(
        "SELECT step, time, context_a, a, context_b, b, b_step FROM (
            SELECT step, time, context_a, a, context_b, is_a,
                last_value(b) IGNORE NULLS OVER w AS b,
                last_value(b_step) IGNORE NULLS OVER w AS b_step
            FROM (
                SELECT p.step, p.step_frac, p.time, p.context AS context_a, p.value AS a, c.context AS context_b,
                    CAST(NULL AS DOUBLE) AS b, CAST(NULL AS BIGINT) AS b_step, 1 AS is_a
                FROM runlake.public.points AS p
                LEFT JOIN (
                    SELECT DISTINCT context FROM runlake.public.series WHERE run_id = {run} AND metric = {b}
                ) AS c ON true
                WHERE p.run_id = {run} AND p.metric = {a}
                UNION ALL
                SELECT step, step_frac, time, CAST(NULL AS VARCHAR) AS context_a, CAST(NULL AS DOUBLE) AS a,
                    context AS context_b, value AS b, step AS b_step, 0 AS is_a
                FROM runlake.public.points WHERE run_id = {run} AND metric = {b}
            )
            WINDOW w AS (
                PARTITION BY context_b ORDER BY step, coalesce(step_frac, 0), is_a, time
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            )
        ) WHERE is_a = 1 ORDER BY step, time, context_a, context_b"
    ))
}
