//! Bootstrap distributions that need no random numbers: order statistics of any sample, and
//! linear statistics of tiny ones.

pub(crate) mod multiset;
pub(crate) mod order;
