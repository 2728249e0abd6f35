//! `regex-lite` under the name of `regex`.
//!
//! oci-spec checks `execCPUAffinity` with one ASCII pattern, and for it the real crate brings its compiler and the tables
//! of Unicode: 1.5 MB of text, and 100 kB of relocated pages that each container's monitor would have for itself.
#![forbid(unsafe_code)]

pub use regex_lite::{Regex, RegexBuilder};
