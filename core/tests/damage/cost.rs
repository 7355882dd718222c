//! The cost of a hostile body, counted.

use std::cell::Cell;

use tidings_core::{Provider, Settings, provider};

thread_local! {
    static PAUSES: Cell<usize> = const { Cell::new(0) };
}

/// Number of times that 64 KiB of this body are read until its items are known. Each item of
/// a body is one more, up to the place at which the body is not JSON.
fn read(provider: &'static Provider, body: &[u8]) -> usize {
    PAUSES.set(0);
    let pause = || PAUSES.set(PAUSES.get() + 1);
    drop(provider.items("s", &Settings::default(), body, pause));
    PAUSES.get()
}

/// However hostile a body is, each of its bytes is read a bounded number of times.
#[test]
fn hostile_bodies_are_read_a_bounded_number_of_times() {
    let size = 1 << 20;
    for part in HOSTILE {
        for (before, after) in [
            ("", ""),
            ("[", "]"),
            ("[{\"", "\"}]"),
            ("{\"events\":[", "]}"),
        ] {
            let many = part.repeat(size / part.len());
            let mut body = [before, &many, after].concat().into_bytes();
            // Whatever it would be, it is not JSON.
            body.extend_from_slice(b"\xff");
            let items = if part.contains("{}") || *part == "\"" {
                size / part.len()
            } else {
                0
            };
            for name in ["pushwoosh", "arpoone"] {
                let times = read(provider::find(name).unwrap(), &body);
                let most = 16 * body.len() / (64 << 10) + items;
                assert!(
                    times < most,
                    "{times} times: {before}{part}..{after}, {name}"
                );
            }
        }
    }
}

/// Parts of hostile bodies.
const HOSTILE: &[&str] = &[
    "\"",
    "[{\"",
    "{\"",
    "[",
    "{",
    "[[",
    "]",
    "}",
    "{\"a\":",
    "},{\"",
    "[{\"},{\"",
    "{\"a\":\"x\n",
    "{\"a\":[\n",
    "{\"a\":[x\n",
    "[x\n",
    "[{\"a\":\"x]\n",
    "{\"a\":[{\"b\":\"x]}\n",
    "{\"a\":[1,{\"b\":2}],\"event_name\":x}\n",
    "\\",
    "\\\"",
    "\n",
    " \n",
    "{\"a\":\"\n\n\n",
    "[{}]\n[x",
    "{}\n",
    "{},",
    "{}",
    "[{},{x},",
    "{\"a\":1,\n{",
    "{\"events\":[{x},",
    "\u{e9}",
    "{\"a\":[{}]}x\n",
    "{\"a\":[{x}],\"b\":[{}]}\n",
    "{\"a\":[{]}\n",
    "{\"a\":[x]}\n{",
    "{\"a\":[{\"n\":1}],\"b\":[x\n",
    "[{\"a\":1}],\"b\":2},",
    "[{x]\n{",
    "{x}[",
    "},",
    "{\"event_name\":\"a\"},{\"l\":[",
];
