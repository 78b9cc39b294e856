//! The device that the environment asks for.

use std::str::FromStr;

use crate::backend::Policy;
use crate::error::{Invalid, KernelError};

/// The variable that names a device.
const VARIABLE: &str = "RUNLAKE_DEVICE";

impl FromStr for Policy {
    type Err = Invalid;

    /// Reads `auto`, `cpu`, `cuda` (the first device) or `cuda:N`, in small or capital letters.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let lower = text.trim().to_ascii_lowercase();
        let ordinal = match lower.as_str() {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        ordinal.map(|ordinal| Self::Cuda { ordinal }).ok_or_else(|| Invalid::DeviceName(text.to_owned()))
    }
}

/// What `RUNLAKE_DEVICE` says; `Auto` where it says nothing.
///
/// # Errors
/// [`Invalid::DeviceName`] when it says something that is no device.
pub(crate) fn policy() -> Result<Policy, KernelError> {
    match std::env::var_os(VARIABLE) {
        None => Ok(Policy::Auto),
        Some(text) if text.is_empty() => Ok(Policy::Auto),
        Some(text) => Ok(text.to_string_lossy().parse()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_read_and_others_refused() {
        let cases = [
            ("auto", Policy::Auto),
            ("CPU", Policy::Cpu),
            ("cuda", Policy::Cuda { ordinal: 0 }),
            (" cuda:3", Policy::Cuda { ordinal: 3 }),
        ];
        for (text, policy) in cases {
            assert_eq!(text.parse(), Ok(policy));
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:1.5", "cuda1"] {
            let error = text.parse::<Policy>().unwrap_err();
            assert_eq!(
                (error.code(), error.clone()),
                ("bad_device_name", Invalid::DeviceName(text.to_owned()))
            );
        }
    }
}
