//! The store through its front door.

mod lake;
mod recovery;
