//! One damaged item costs no other: bodies of good items and a damaged one, of every provider
//! and in every form, with damage that is drawn and damage that was seen.
//!
//! The reach of the damage is judged by simple means (`tidings_fuzz::damage::Reach`), which
//! share nothing with the code that cuts a damaged body.

#[cfg(test)]
mod check;
#[cfg(test)]
mod cost;
#[cfg(test)]
#[expect(dead_code, reason = "identity/ uses all of it")]
#[path = "../support/fields.rs"]
mod fields;
#[cfg(test)]
mod kinds;
#[cfg(test)]
#[expect(dead_code, reason = "hostile.rs uses all of it")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod tests;
