//! Curves as people look at them: smoothed and thinned. Slices in, values out; nothing here decides anything.

mod lttb;
mod smooth;

pub use lttb::largest_triangle_three_buckets;
pub use smooth::{ExponentialWeights, exponential_moving_average, tensorboard_smoothing};
