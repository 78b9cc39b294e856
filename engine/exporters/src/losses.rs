//! What a form cannot hold, counted.

use std::collections::BTreeMap;

use importers::exported::Loss;

/// Counts of what is left out of an export, or stands in it changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<&'static str, (&'static str, u64)>);

impl Losses {
    pub(crate) fn add(&mut self, code: &'static str, message: &'static str, count: u64) {
        if count > 0 {
            let entry = self.0.entry(code).or_insert((message, 0));
            entry.1 = entry.1.saturating_add(count);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (code, (message, count)) in other.0 {
            self.add(code, message, count);
        }
    }

    /// One entry for each code.
    pub fn list(&self) -> Vec<Loss> {
        let loss = |(code, (message, count)): (&&str, &(&str, u64))| Loss {
            code: (*code).to_owned(),
            message: (*message).to_owned(),
            count: *count,
        };
        self.0.iter().map(loss).collect()
    }
}
