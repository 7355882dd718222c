//! What must hold of any input, written once. The fuzz targets look for an input of
//! which it does not hold; `core/tests/` replays the inputs that they kept.
//!
//! # Layout
//!
//! One module for each thing that reads what others wrote, with a function from bytes to
//! nothing that panics where a promise is broken:
//!
//! - [`body`]: a provider's body, with the options of its source; what an [`event`] must
//!   be, and what is [`storable`]; the same body as [`damage`] among good items
//! - [`signature`]: a signature, over any body and key
//! - [`question`]: an answer about a send request
//! - [`spool`]: the worker's spool, whose file somebody damaged
//! - [`ulid`]: the text, the bytes and the order of ULIDs
//! - [`wire`]: a gRPC schema, and messages by it
//!
//! [`check`] finds them by name, [`target!`] makes one a program.

pub mod body;
pub mod damage;
pub mod event;
pub mod question;
pub mod signature;
pub mod spool;
pub mod storable;
pub mod ulid;
pub mod wire;

use std::{env, fs, io};

/// Reads what somebody else wrote, as the fuzz target of this name does; panics where a
/// promise is broken. A provider's target has the provider's name.
pub fn check(target: &str, data: &[u8]) {
    match target {
        "signature" => signature::check(data),
        "spool" => spool::check(data),
        "ulid" => ulid::check(data),
        "wire" => wire::check(data),
        provider => body::check(provider, data),
    }
}

/// The parts of an input that is made of several: all but the last end at a byte that
/// no text in UTF-8 has, so that one part alone is an input as it is.
pub(crate) fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut rest = data.splitn(N, |byte| *byte == 0xff);
    std::array::from_fn(|_| rest.next().unwrap_or_default())
}

/// A reason becomes a text column, and a line of a log.
pub fn message(message: &str) {
    assert!(message.len() < 300, "{message:?}");
    readable(message);
}

/// What somebody is told of what they wrote themselves: it may be as long as that was.
pub(crate) fn readable(message: &str) {
    assert!(!message.is_empty(), "an error says what to do");
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// Checks each file that the command line names.
pub fn replay(target: &str) -> io::Result<()> {
    for path in env::args_os().skip(1) {
        check(target, &fs::read(path)?);
    }
    Ok(())
}

/// A fuzz target; built without libFuzzer, a program that replays files.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::check($name, data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            $crate::replay($name)
        }
    };
}
