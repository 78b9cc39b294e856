//! Aggregates over `points` that the statistics of whole series answer.
//!
//! Count, sum, minimum and maximum of the values of a series are kept at write. An aggregate over points whose groups
//! are made of what names a series needs points only of those series of which some values fulfil its conditions and
//! others do not; all other series add what their statistics say. [`AnswerBySeries`] divides such an aggregate into the
//! two parts and puts their results together.

mod decision;
mod rewrite;
mod value_set;

pub(super) use decision::Decision;
pub(crate) use rewrite::AnswerBySeries;
