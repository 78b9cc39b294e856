//! Which runs `runlake importance` and `runlake cluster` are about.

use clap::Args;
use runlake::RunSet;

use crate::exit::UsageError;

#[derive(Debug, Args)]
pub(crate) struct RunSetArguments {
    /// An experiment, as NAME or PROJECT/NAME; several are taken together
    #[arg(value_name = "EXPERIMENT")]
    experiments: Vec<String>,
    /// A SELECT with one row for each run, in place of experiments
    #[arg(long, value_name = "SELECT", conflicts_with = "experiments")]
    sql: Option<String>,
}

impl RunSetArguments {
    pub(crate) fn runs(self) -> anyhow::Result<RunSet> {
        match (self.sql, self.experiments) {
            (Some(sql), _) => Ok(RunSet::Sql(sql)),
            (None, experiments) if experiments.is_empty() => {
                Err(UsageError("give an experiment, or --sql \"SELECT ...\"".to_owned()).into())
            }
            (None, experiments) => Ok(RunSet::Experiments(experiments)),
        }
    }
}

/// A word of the command line as SQL knows it.
pub(crate) fn word<T: clap::ValueEnum>(value: T) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

/// Which values of a metric are good.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Good {
    Min,
    Max,
}
