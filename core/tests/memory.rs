//! The memory that is needed to read a body: never more than a backend makes sure of before
//! (`tidings_core::json::room_for_body`, `room_for_item`), because an allocation that fails
//! in Rust would end the server.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use tidings_core::{Item, Provider, Settings, json::room_for_body, provider};

/// Counts the bytes that are allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn grow(bytes: usize) {
        let now = NOW.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(now, Relaxed);
    }
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    /// The old place and the new one may both exist for a while.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::grow(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that this takes at most, beyond those that are allocated before.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work();
    (done, PEAK.load(Relaxed) - before)
}

/// The values of a row, in one buffer, as the extension has them.
fn row(item: &Item<'_>) -> Vec<u8> {
    let Ok(event) = &item.event else {
        return item.bytes.to_vec();
    };
    let texts = [
        Some(&event.provider_kind),
        event.channel.as_ref(),
        event.request_id.as_ref(),
        event.message_id.as_ref(),
        event.recipient.as_ref(),
        event.campaign.as_ref(),
        event.error_code.as_ref(),
        event.reason.as_ref(),
        item.cursor.as_ref(),
    ];
    let length = texts.iter().flatten().map(|text| text.len() + 8).sum();
    let mut row = Vec::with_capacity(length);
    for text in texts.into_iter().flatten() {
        row.extend(text.as_bytes());
    }
    row
}

fn check(provider: &'static Provider, what: &str, body: &[u8]) {
    let name = provider.name;
    let settings = Settings::default();
    let (items, taken) = peak(|| provider.items("s", &settings, body, || {}));
    let room = room_for_body(body.len());
    assert!(taken <= room, "{name}, {what}: {taken} bytes, of {room}");
    let Ok(mut items) = items else { return };
    let mut buffer = Vec::new();
    loop {
        let room = items.room();
        let (more, taken) = peak(|| {
            let Some(item) = items.next() else {
                return false;
            };
            if item.storable {
                assert!(items.jsonb().is_some());
            }
            buffer = row(&item);
            true
        });
        assert!(taken <= room, "{name}, {what}: {taken} bytes, of {room}");
        if !more {
            break;
        }
    }
}

/// Every text of an item has this content.
fn texts(text: &str) -> [(&'static str, String); 6] {
    [
        (
            "a report",
            format!(
                r#"{{"MessageId":"m","Status":"{text}","ReportDescription":"{text}","a":"{text}"}}"#
            ),
        ),
        (
            "an e-mail event",
            format!(
                r#"{{"MessageId":"m","EventType":"{text}","EventDetails":{{"Reason":"{text}","{text}":1}}}}"#
            ),
        ),
        (
            "a push",
            format!(r#"{{"event_name":"{text}","platform":"{text}","campaign_id":"{text}"}}"#),
        ),
        (
            "a push in a text",
            format!(
                r#"{{"e":{}}}"#,
                serde_json::json!(format!(r#"{{"event_name":"{text}","platform":"{text}"}}"#))
            ),
        ),
        (
            "a click",
            format!(
                r#"{{"kind":"transaction:{text}","messageId":"m","clickAction":"{text}","reason":"{text}","customId":"{text}"}}"#
            ),
        ),
        (
            "a chat",
            format!(
                r#"{{"event_id":"{text}","event_type":"{text}","recipient":{{"error_code":"{text}"}},"summary":"{text}"}}"#
            ),
        ),
    ]
}

#[test]
fn no_body_takes_more_than_is_made_sure_of() {
    for size in [100, 10_000, 1 << 20] {
        let mut bodies: Vec<(String, String)> = Vec::new();
        for text in [
            "x",
            "a b ",
            "\u{130}",
            "\\n",
            "\\u00e9",
            "\\\\\\\"",
            "\u{1f44b}",
        ] {
            let text = text.repeat(size / text.len() / 3);
            for (what, item) in texts(&text) {
                bodies.push((what.to_owned(), item.clone()));
                bodies.push((format!("{what}, twice"), format!("[{item},{item}]")));
            }
        }
        for part in [
            "0", "{}", "[]", "null", "\"\"", "1e5", "[[0]]", "-1.5", "1E-99",
        ] {
            let many = vec![part; size / (part.len() + 1)].join(",");
            bodies.push((format!("items {part}"), format!("[{many}]")));
            bodies.push((format!("elements {part}"), format!("[[{many}]]")));
            let event = format!(r#"{{"event_name":"e","a":[{many}]}}"#);
            let text = serde_json::json!({ "e": event }).to_string();
            bodies.push((format!("elements {part} in a text"), text));
            bodies.push((
                format!("details of {part}"),
                format!(r#"{{"MessageId":"m","EventType":"e","EventDetails":[{many}]}}"#),
            ));
        }
        for name in ["", "a", "\\n", "\\u00e9"] {
            let many = vec![format!(r#""{name}":0"#); size / (name.len() + 5)].join(",");
            bodies.push((format!("members {name}"), format!("{{{many}}}")));
            bodies.push((
                format!("details with {name}"),
                format!(r#"{{"MessageId":"m","EventType":"e","EventDetails":{{{many}}}}}"#),
            ));
        }
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"events":["#, "]}")] {
            for depth in [126, size / open.len() / 2] {
                let inside = "\"\"";
                let nested = format!("{}{inside}{}", open.repeat(depth), close.repeat(depth));
                bodies.push((format!("{depth} {open}"), nested.clone()));
                bodies.push((format!("[{depth} {open}]"), format!("[{nested}]")));
                bodies.push((format!("{depth} {open}, cut"), open.repeat(2 * depth)));
            }
        }
        for item in [r#"{"event_name":"a"}"#, r#"{"a":1}"#] {
            let many = vec![item; (size / item.len()).min(90_000)].join("\n");
            bodies.push((format!("lines {item}"), many));
        }
        let different = (0..(size / 24).min(90_000)).map(|n| format!(r#"{{"event_name":"{n}"}}"#));
        let different: Vec<_> = different.collect();
        bodies.push(("lines that differ".to_owned(), different.join("\n")));
        bodies.push(("no JSON".to_owned(), "x".repeat(size)));
        bodies.push((
            "JSON, and then none".to_owned(),
            format!("{{}}{}", "x".repeat(size)),
        ));
        if size == 1 << 20 {
            // Only the brackets grow with the body here.
            bodies.push(("open".to_owned(), "[".repeat(32 << 20)));
            // As many members as an item may have, each as short as it can be.
            let many = vec![r#""":0"#; 999_996].join(",");
            bodies.push((
                "a million members".to_owned(),
                format!(r#"{{"MessageId":"m","EventType":"e","EventDetails":{{{many}}}}}"#),
            ));
        }
        for (what, body) in bodies {
            let what = format!("{what}, {} bytes", body.len());
            for provider in provider::ALL {
                check(provider, &what, body.as_bytes());
            }
        }
    }
}
