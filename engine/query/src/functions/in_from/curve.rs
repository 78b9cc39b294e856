//! `curve`: a metric of a run with as many points as a picture needs.

use datafusion::common::Result;

use super::{Call, RUN, quoted};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, required};

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "curve",
    kind: FunctionKind::Table,
    summary: "A metric of a run, thinned to at most so many points in each context, in the order of the steps: of equal \
              parts the lowest and the highest point, and the first NaN or infinity (downsample_minmax). No rows where \
              the run has no such metric.",
    parameters: &[
        RUN,
        required("metric", ArgumentKind::Text, "the metric"),
        required("points", ArgumentKind::Integer, "how many points to keep, at least 3"),
    ],
    returns: "table(context, step, value)",
    example: "SELECT step, value FROM curve('small', 'val_loss', 4) ORDER BY step",
};

pub(super) fn sql(call: &Call<'_>) -> Result<String> {
    let (run, metric) = (call.run("run")?, call.text("metric")?);
    let points = call.constants.count("points", 3, "a number of points")?;
    Ok(format!(
        "SELECT context, point['step'] AS step, point['value'] AS value FROM (
            SELECT context, unnest(kept) AS point FROM (
                SELECT context, downsample_minmax(step, value, {points}) AS kept
                FROM runlake.public.points WHERE run_id = {} AND metric = {} GROUP BY context
            )
        ) ORDER BY context, step",
        quoted(&run.to_string()),
        quoted(metric)
    ))
}
