//! What a process used of the machine: CPU seconds and memory, from `/proc`.

use std::fs;

/// The unit of times in `/proc`: 100 on every Linux (`USER_HZ`), whatever the kernel itself counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds, user and system, that a process has used so far; `None` where there is no `/proc`.
pub fn cpu_seconds(process: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; user and system time are fields 14 and 15 of the whole line.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

/// The most memory that a process ever had in use, in bytes; `None` where there is no `/proc`.
pub fn peak_memory(process: u32) -> Option<u64> {
    status_kib(process, "VmHWM:").map(|kib| kib * 1024)
}

/// The memory that a process has in use now, in bytes; `None` where there is no `/proc`.
pub fn memory(process: u32) -> Option<u64> {
    status_kib(process, "VmRSS:").map(|kib| kib * 1024)
}

fn status_kib(process: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = std::process::id();
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 60 {
            std::hint::black_box(start.elapsed());
        }
        assert!(cpu_seconds(own).is_some_and(|seconds| seconds > 0.0));
        assert!(peak_memory(own) >= memory(own) && memory(own) > Some(100_000));
        assert_eq!(cpu_seconds(u32::MAX), None);
    }
}
