//! Distribution functions, accurate into the tails.
//!
//! Upper tails are computed directly, never as one minus the lower tail, so that a relative error near
//! 1e-12 holds down to the smallest normal doubles. Normal and gamma functions come from `statrs`; the
//! incomplete beta function and the noncentral t are written here, because those of `statrs` stop after
//! 140 terms and lack the noncentral case.

mod beta;
mod chi_squared;
mod f;
mod noncentral_t;
mod normal;
mod roots;
mod student_t;

pub use beta::{beta_quantile, regularized_beta};
pub use chi_squared::{chi_squared_cdf, chi_squared_quantile, chi_squared_sf};
pub use f::f_sf;
pub use noncentral_t::{noncentral_t_cdf, noncentral_t_parameter, noncentral_t_sf};
pub use normal::{normal_cdf, normal_quantile, normal_sf};
pub use student_t::{student_t_cdf, student_t_pdf, student_t_quantile, student_t_sf};

pub(crate) use beta::ln_beta;
pub(crate) use normal::ln_normal_cdf;
pub(crate) use roots::root;
