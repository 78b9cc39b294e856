//! The report of a decision in the forms that people and tools read. Each is a pure function of the report.

mod annotations;
mod interval;
mod junit;
mod markdown;
mod picture;
mod png;
mod sarif;
mod svg;
mod terminal;

pub use terminal::Colour;
