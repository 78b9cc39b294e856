//! `label_agreement`: how alike two ways to sort the same runs into classes are.

use std::collections::HashSet;

use analysis::AnalysisError;
use kernels::cluster::Agreement;

use super::arms::number;
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, required};
use super::grouped::{GroupFunction, Prepare, Sample, found};
use super::outcome::known;

/// Steps that the expectation by chance may take.
const STEPS_MAX: usize = 10_000_000;

static DEFINITION: Definition = Definition {
    name: "label_agreement",
    kind: FunctionKind::Aggregate,
    summary: "How alike two labellings of the same runs are, whatever the labels are called, as clusters against what is \
              known: adjusted_rand (Hubert & Arabie 1985) is 0 by chance and 1 for the same classes, adjusted_mutual \
              information likewise; rand and normalized_mutual are the same without correction for chance; fowlkes_mallows \
              (1983); homogeneity says that a class of b holds one class of a, completeness that a class of a lies in \
              one of b. Rows with a NULL do not count. error is \
              empty_sample, or invalid_argument for more labels than can be compared (about as many as rows).",
    parameters: &[
        required("a", ArgumentKind::Pair, "the label that is known"),
        required("b", ArgumentKind::Pair, "the label to judge"),
    ],
    returns: "struct(adjusted_rand, adjusted_mutual, rand, normalized_mutual, fowlkes_mallows, homogeneity, completeness, n, n_nonfinite, error)",
    example: "SELECT label_agreement(architecture, cluster)['adjusted_rand'] AS agreement\nFROM (VALUES ('cnn', 0), ('cnn', 0), ('vit', 1), ('vit', 1), ('mlp', 1)) AS runs(architecture, cluster)",
};

pub(super) static FUNCTIONS: [GroupFunction; 1] = [GroupFunction {
    definition: &DEFINITION,
    fields: || {
        [
            "adjusted_rand",
            "adjusted_mutual",
            "rand",
            "normalized_mutual",
            "fowlkes_mallows",
            "homogeneity",
            "completeness",
        ]
        .map(number)
        .to_vec()
    },
    prepare: Prepare::Sample(|_, _| Ok((RowKey::None, Box::new(|sample| found(agreement(sample), known))))),
}];

fn agreement(sample: &Sample<'_>) -> analysis::Result<[f64; 7]> {
    // In one order, so that sums are rounded alike whatever the order of the rows.
    let mut pairs: Vec<(&str, &str)> = sample.labels(0).zip(sample.labels(1)).collect();
    pairs.sort_unstable();
    if pairs.is_empty() {
        return Err(AnalysisError::EmptySample { sample: "the set of rows".into() });
    }
    let (first, second): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
    let [classes, clusters] = [&first, &second].map(|labels| labels.iter().collect::<HashSet<_>>().len());
    // What is expected by chance is a sum over all pairs of labels and what they could share.
    if classes.min(clusters).saturating_mul(first.len()) > STEPS_MAX || classes * clusters > STEPS_MAX {
        return Err(AnalysisError::InvalidArgument {
            name: "labels",
            value: format!("{classes} against {clusters}"),
            expected: "fewer labels, each of several rows",
        });
    }
    let found = Agreement::new(&first, &second)
        .map_err(|error| AnalysisError::PairingMismatch { detail: error.to_string() })?;
    Ok([
        found.adjusted_rand(),
        found.adjusted_mutual_information(),
        found.rand(),
        found.normalized_mutual_information(),
        found.fowlkes_mallows(),
        found.homogeneity(),
        found.completeness(),
    ])
}
