//! Inputs with known answers for tests, benchmarks and the demo.
//!
//! * [`unpack_demo_corpus`]: a few hundred real runs, logged through MLflow's and TensorBoard's own clients,
//!   carried inside the program.
//! * [`Corpus`]: synthetic runs of any number, each computed on its own from a seed, shaped like the training
//!   logs of a large team, with effects that are known exactly ([`Truth`]).
//!
//! ```
//! use datasets::{Corpus, CorpusConfig};
//!
//! let corpus = Corpus::new(CorpusConfig::tiny())?;
//! let run = corpus.run(7);
//! assert_eq!(run.id.len(), 32);
//! let points: usize = run.metrics().map(|series| series.values.len()).sum();
//! assert_eq!(points as u64, run.point_count());
//! # Ok::<(), datasets::CorpusError>(())
//! ```

mod catalogue;
mod config;
mod corpus;
mod demo;
mod effects;
mod experiment;
mod series;
mod shape;
mod stream;

pub use config::{CorpusConfig, CorpusError, MetricMix};
pub use corpus::{Corpus, RunStatus, SyntheticRun};
pub use demo::unpack_demo_corpus;
pub use effects::{Effect, TiedVariants, Truth, term};
pub use series::{Series, SyntheticSeries};
