//! Registers and shared memory of every kernel on sm_90, and the gate that keeps kernels from spilling.

use std::process::Command;

use crate::failure::Failure;
use crate::ptx::{families, path};
use crate::tool::{PTXAS, sources};

const TARGET: &str = "sm_90";

/// Writes the table.
pub(crate) fn write() -> Result<String, Failure> {
    let table = table()?;
    let file = sources().join("resources.txt");
    std::fs::write(&file, &table).map_err(Failure::file(&file))?;
    Ok(table)
}

/// Compares with the table that is there.
pub(crate) fn check() -> Result<String, Failure> {
    let file = sources().join("resources.txt");
    let kept = std::fs::read_to_string(&file).map_err(Failure::file(&file))?;
    let now = table()?;
    if kept != now {
        let advice =
            "if the change is meant, run `cargo run -p device-code -- resources` and commit the table";
        return Err(Failure::Stale(format!(
            "kernels need other resources than the table says; {advice}\n{now}"
        )));
    }
    Ok("resources of the kernels are as in the table; no spills, no stack".to_owned())
}

fn table() -> Result<String, Failure> {
    let assembler = PTXAS.folder()?.join("nvidia/cuda_nvcc/bin/ptxas");
    let mut table =
        format!("# ptxas 12.0.140, {TARGET}: written by `cargo run -p device-code -- resources`\n");
    table += &format!("{:<32} {:>9} {:>13}\n", "# kernel", "registers", "shared bytes");
    for family in families()? {
        let out = std::env::temp_dir().join(format!("runlake-{family}-{}.cubin", std::process::id()));
        // Unpacked without its permission to run.
        let mut loader = Command::new("/lib64/ld-linux-x86-64.so.2");
        let output = loader
            .arg(&assembler)
            .arg(format!("-arch={TARGET}"))
            .arg("-v")
            .arg(path(&family))
            .arg("-o")
            .arg(&out);
        let output = output.output().map_err(Failure::file(&assembler))?;
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(Failure::Refused { tool: "ptxas", said });
        }
        std::fs::remove_file(&out).map_err(Failure::file(&out))?;
        for kernel in kernels(&said) {
            if kernel.spilled {
                return Err(Failure::Stale(format!(
                    "kernel {} spills or needs a stack:\n{said}",
                    kernel.name
                )));
            }
            table += &format!("{:<32} {:>9} {:>13}\n", kernel.name, kernel.registers, kernel.shared);
        }
    }
    Ok(table)
}

struct Kernel {
    name: String,
    registers: u32,
    shared: u32,
    spilled: bool,
}

/// Reads what `ptxas -v` says, in order of names.
fn kernels(said: &str) -> Vec<Kernel> {
    let number_before = |line: &str, unit: &str| -> u32 {
        let before = line.find(unit).map(|at| line[..at].trim_end());
        before.and_then(|text| text.rsplit([' ', ',']).next()).and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let mut kernels: Vec<Kernel> = Vec::new();
    for line in said.lines() {
        if let Some(name) = line.split("Function properties for ").nth(1) {
            kernels.push(Kernel { name: name.trim().to_owned(), registers: 0, shared: 0, spilled: false });
        }
        let Some(kernel) = kernels.last_mut() else { continue };
        if line.contains("bytes stack frame") {
            let units = ["bytes stack frame", "bytes spill stores", "bytes spill loads"];
            kernel.spilled = units.iter().any(|unit| number_before(line, unit) > 0);
        }
        if line.contains(" registers") {
            kernel.registers = number_before(line, "registers");
            kernel.shared = number_before(line, "bytes smem");
        }
    }
    kernels.sort_by(|left, right| left.name.cmp(&right.name));
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_the_assembler_is_read() {
        let said = "ptxas info    : Compiling entry function 'b' for 'sm_90'\n\
                    ptxas info    : Function properties for b\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                    ptxas info    : Used 40 registers, 2048 bytes smem, 408 bytes cmem[0]\n\
                    ptxas info    : Function properties for a\n    16 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                    ptxas info    : Used 8 registers, 408 bytes cmem[0]\n";
        let read: Vec<(String, u32, u32, bool)> = kernels(said)
            .into_iter()
            .map(|kernel| (kernel.name, kernel.registers, kernel.shared, kernel.spilled))
            .collect();
        assert_eq!(read, [("a".to_owned(), 8, 0, true), ("b".to_owned(), 40, 2048, false)]);
    }
}
