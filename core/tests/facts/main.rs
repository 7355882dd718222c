//! What is known of each provider beyond its own page, a test for each fact that bodies
//! and policies can show; transport is tested where it lives.
//!
//! A test is named after the fact's row in the project's table of facts. Where a fact is
//! inferred or unknown, every plausible form must be read.

#[cfg(test)]
mod arpoone;
#[cfg(test)]
mod ppoppo;
#[cfg(test)]
mod pushpushgo;
#[cfg(test)]
mod pushwoosh;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod times;
