//! The documentation of every function holds: its example runs, and its names are the planner's.

use std::collections::BTreeSet;

use query::functions::definitions;

use crate::lake::{Kept, Lake};

#[test]
fn every_example_runs() {
    let lake = Lake::small(Kept::Both);
    for definition in definitions() {
        let batches =
            lake.ask(definition.example).unwrap_or_else(|error| panic!("{}: {error}", definition.name));
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert!(rows > 0, "{}", definition.name);
    }
}

#[test]
fn names_are_in_order_and_parameters_differ() {
    let names: Vec<&str> = definitions().iter().map(|d| d.name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    for definition in definitions() {
        let parameters: BTreeSet<&str> = definition.parameters.iter().map(|p| p.name).collect();
        assert_eq!(parameters.len(), definition.parameters.len(), "{}", definition.name);
        let first_optional = definition.parameters.iter().position(|p| !p.required);
        let last_required = definition.parameters.iter().rposition(|p| p.required);
        assert!(first_optional.is_none_or(|o| last_required.is_none_or(|r| r < o)), "{}", definition.name);
    }
}
