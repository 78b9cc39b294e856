//! The bytes of one file as a process sees them and as they are after a power cut.

use std::collections::BTreeSet;

use crate::disk::FileStatus;
use crate::random::Random;

/// Bytes that reach the disk together or not at all, except that one block of a crash may be torn inside.
const BLOCK: usize = 64;

#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub(super) cached: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
    pub(super) length_dirty: bool,
    pub(super) modified_micros: i64,
}

impl Contents {
    pub(super) fn status(&self) -> FileStatus {
        FileStatus { length: self.cached.len() as u64, modified_micros: self.modified_micros }
    }

    pub(super) fn mark(&mut self, offset: usize, count: usize) {
        if count > 0 {
            self.dirty.extend(offset / BLOCK..=(offset + count - 1) / BLOCK);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for block in std::mem::take(&mut self.dirty) {
            let start = (block * BLOCK).min(self.cached.len());
            let end = (start + BLOCK).min(self.cached.len());
            self.durable[start..end].copy_from_slice(&self.cached[start..end]);
        }
        self.length_dirty = false;
    }

    pub(super) fn crash(&mut self, random: &mut Random, mood: u64) {
        if self.length_dirty && mood > 0 && random.chance(2) {
            self.durable.resize(self.cached.len(), 0);
        }
        for block in std::mem::take(&mut self.dirty) {
            let keep = match mood {
                0 => 0,
                1 => BLOCK,
                _ if random.chance(8) => random.below(BLOCK as u64 + 1) as usize,
                _ => BLOCK * random.below(2) as usize,
            };
            let start = block * BLOCK;
            let end = (start + keep).min(self.cached.len());
            if keep > 0 && start < end {
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                self.durable[start..end].copy_from_slice(&self.cached[start..end]);
            }
        }
        self.cached = self.durable.clone();
        self.length_dirty = false;
    }
}
