//! Distributions that need no random numbers: of the bootstrap, order statistics of any sample and linear
//! statistics of tiny ones; of relabellings, sums by halves or on a lattice, and enumeration.

pub(crate) mod halves;
pub(crate) mod lattice;
pub(crate) mod multiset;
pub(crate) mod order;
pub(crate) mod splits;
