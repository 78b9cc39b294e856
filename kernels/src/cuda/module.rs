//! Kernels by name, from PTX that is part of this program; a family is loaded when it is first used.

use std::collections::HashMap;
use std::ffi::CString;

use cudarc::driver::{DriverError, result, sys};

/// The families of kernels, one file of `kernels/cuda` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    /// Bootstrap.
    Boot,
    /// Bounds of the device.
    Ceiling,
    /// Distances between rows.
    Dist,
    /// Permutation tests.
    Perm,
}

impl Family {
    fn ptx(self) -> &'static str {
        match self {
            Self::Boot => include_str!("../../cuda/ptx/boot.ptx"),
            Self::Ceiling => include_str!("../../cuda/ptx/ceiling.ptx"),
            Self::Dist => include_str!("../../cuda/ptx/dist.ptx"),
            Self::Perm => include_str!("../../cuda/ptx/perm.ptx"),
        }
    }
}

/// A loaded family.
pub(crate) struct Module {
    handle: sys::CUmodule,
    kernels: HashMap<&'static str, Kernel>,
}

/// A kernel of a loaded family.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(super) function: sys::CUfunction,
    pub(super) name: &'static str,
    /// Bytes of each parameter.
    pub(super) parameters: Vec<usize>,
}

impl Module {
    /// Loads a family into the current context.
    pub(crate) fn load(family: Family) -> Result<Self, DriverError> {
        let ptx = family.ptx();
        // The text of a PTX file has no zero byte; without one this would be the whole text.
        let image = CString::new(ptx).unwrap_or_default();
        // SAFETY: the image is PTX text that ends with a zero byte.
        let handle = unsafe { result::module::load_data(image.as_ptr().cast()) }?;
        let mut module = Self { handle, kernels: HashMap::new() };
        for (name, parameters) in entries(ptx) {
            let c_name = CString::new(name).unwrap_or_default();
            // SAFETY: the module is loaded and is not unloaded before this value is dropped.
            let function = unsafe { result::module::get_function(handle, c_name) }?;
            module.kernels.insert(name, Kernel { function, name, parameters });
        }
        Ok(module)
    }

    /// A kernel by name; `None` when the family has none of that name.
    pub(crate) fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.get(name)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: the handle came from loading and is used for the last time. Whether it can be unloaded does not
        // matter to anybody.
        let _ = unsafe { result::module::unload(self.handle) };
    }
}

/// Names of the kernels in a PTX text, with the bytes of each parameter.
fn entries(ptx: &'static str) -> impl Iterator<Item = (&'static str, Vec<usize>)> {
    ptx.split(".entry ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once('(')?;
        let (parameters, _) = rest.split_once(')')?;
        Some((name.trim(), parameters.split(".param").skip(1).map(parameter_bytes).collect()))
    })
}

/// Bytes of a parameter such as `.u64 name` or `.align 4 .b8 name[80]`.
fn parameter_bytes(declaration: &str) -> usize {
    if let Some((_, rest)) = declaration.split_once('[') {
        return rest.split(']').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    }
    let bits: String = declaration.trim_start().chars().skip(2).take_while(char::is_ascii_digit).collect();
    bits.parse::<usize>().unwrap_or(0) / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_the_text() {
        let found: HashMap<_, _> = entries(Family::Boot.ptx()).collect();
        assert_eq!(found["known_answers"], [8, 8, 8, 4]);
        assert_eq!(found["count_draws_u16"], [8, 8, 4, 4, 4, 80]);
        assert_eq!(found["select_ranks"], [8, 8, 8, 8, 8, 4]);
        assert!(found.values().flatten().all(|&bytes| bytes > 0));
    }
}
