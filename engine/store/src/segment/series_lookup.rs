//! Where the series of a run or a metric stand in a chunk index, so that a question for a few of them does not pass over
//! all.

use model::RunId;

/// Positions of series by run and by metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeriesLookup {
    /// Runs by id, each with its number.
    runs: Box<[(RunId, u32)]>,
    of_runs: Grouped,
    of_metrics: Grouped,
}

/// Positions grouped by a number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grouped {
    /// Where the group of each number begins, and the end.
    starts: Box<[u32]>,
    /// The positions, rising in every group.
    positions: Box<[u32]>,
}

impl Grouped {
    fn new(numbers: impl Iterator<Item = u32> + Clone, groups: usize) -> Self {
        let mut starts = vec![0_u32; groups + 1];
        for number in numbers.clone() {
            starts[number as usize + 1] += 1;
        }
        for group in 0..groups {
            starts[group + 1] += starts[group];
        }
        let mut next = starts.clone();
        let mut positions = vec![0_u32; starts[groups] as usize];
        for (position, number) in (0..).zip(numbers) {
            let at = &mut next[number as usize];
            positions[*at as usize] = position;
            *at += 1;
        }
        Self { starts: starts.into(), positions: positions.into() }
    }

    fn get(&self, number: u32) -> &[u32] {
        let number = number as usize;
        match (self.starts.get(number), self.starts.get(number + 1)) {
            (Some(start), Some(end)) => &self.positions[*start as usize..*end as usize],
            _ => &[],
        }
    }
}

impl SeriesLookup {
    /// The lookup of series of which each has the number of its run and of its metric.
    pub(super) fn new(
        runs: impl Iterator<Item = RunId>,
        of_runs: impl Iterator<Item = u32> + Clone,
        of_metrics: impl Iterator<Item = u32> + Clone,
        texts: usize,
    ) -> Self {
        let mut runs: Vec<(RunId, u32)> = runs.zip(0..).collect();
        let count = runs.len();
        runs.sort_unstable();
        Self {
            runs: runs.into(),
            of_runs: Grouped::new(of_runs, count),
            of_metrics: Grouped::new(of_metrics, texts),
        }
    }

    /// The positions of the series of a run.
    pub(super) fn of_run(&self, id: RunId) -> impl Iterator<Item = u32> + '_ {
        let start = self.runs.partition_point(|(run, _)| *run < id);
        let same = self.runs[start..].iter().take_while(move |(run, _)| *run == id);
        same.flat_map(|(_, number)| self.of_runs.get(*number).iter().copied())
    }

    /// The positions of the series of the metric whose text has this number.
    pub(super) fn of_metric(&self, number: u32) -> &[u32] {
        self.of_metrics.get(number)
    }

    /// Bytes in memory of a lookup.
    pub(super) fn bytes(runs: usize, texts: usize, series: usize) -> usize {
        runs * (size_of::<(RunId, u32)>() + 4) + texts * 4 + series * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_by_run_and_by_metric() {
        let ids = [7, 3, 7].map(RunId::from_u128);
        let of_runs = [0_u32, 0, 1, 2, 1];
        let of_metrics = [4_u32, 5, 4, 4, 5];
        let lookup = SeriesLookup::new(ids.into_iter(), of_runs.into_iter(), of_metrics.into_iter(), 6);
        let of_run = |id| lookup.of_run(RunId::from_u128(id)).collect::<Vec<_>>();
        // A run that stands twice, as under two projects, has the series of both.
        assert_eq!((of_run(7), of_run(3), of_run(1)), (vec![0, 1, 3], vec![2, 4], vec![]));
        assert_eq!((lookup.of_metric(4), lookup.of_metric(5)), (&[0, 2, 3][..], &[1, 4][..]));
        assert_eq!((lookup.of_metric(0), lookup.of_metric(9)), (&[][..], &[][..]));
    }
}
