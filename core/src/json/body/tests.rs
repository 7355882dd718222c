//! Bodies that are JSON, and what becomes of those that are not.

use super::*;

static WRAPPER: Wrapper = Wrapper {
    unless: &["event_name", "live_activity_id"],
};

fn items(body: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut cursor = Cursor::new(body, Some(&WRAPPER), || {})?;
    let mut tape = Tape::default();
    let items: Vec<_> = std::iter::from_fn(|| cursor.next(&mut tape)).collect();
    assert_eq!(items.len(), cursor.count());
    let longest = items.iter().map(|(item, _)| item.len()).max();
    assert!(cursor.longest() >= longest.unwrap_or(0));
    for (item, read) in &items {
        assert!(read.as_ref().is_ok_and(|text| text.as_bytes() == *item) || read.is_err());
    }
    Ok(items.into_iter().map(|(item, _)| item).collect())
}

fn cut(body: &str) -> Result<Vec<&str>, Malformed> {
    let items = items(body.as_bytes())?;
    Ok(items
        .into_iter()
        .map(|item| str::from_utf8(item).unwrap())
        .collect())
}

#[test]
fn a_body_is_cut_into_the_items_as_sent() {
    for (body, expected) in [
        (r#"{"a": 1}"#, vec![r#"{"a": 1}"#]),
        (
            r#"[{"a":1}, {"b" : 2}]"#,
            vec![r#"{"a":1}"#, r#"{"b" : 2}"#],
        ),
        ("{\"a\":1}\n{\"b\":2}\r\n", vec![r#"{"a":1}"#, r#"{"b":2}"#]),
        (r#"{"events":[{"a":1}]}"#, vec![r#"{"a":1}"#]),
        (r#"{"n":1,"any": [ {"a":1}, 2 ]}"#, vec![r#"{"a":1}"#, "2"]),
        (r#"{"e":[],"t":["x"],"d":[{}]}"#, vec!["{}"]),
        (r#"{"d":[{}],"e":[{}]}"#, vec![r#"{"d":[{}],"e":[{}]}"#]),
        (r#"{"events":[]}"#, vec![]),
        (r#"{"data": [ ]}"#, vec![]),
        (r#"{"events":[],"batch":7}"#, vec![]),
        (r#"{"tags":[],"n":7}"#, vec![r#"{"tags":[],"n":7}"#]),
        (
            r#"{"d":[{}],"e":[{}],"events":[]}"#,
            vec![r#"{"d":[{}],"e":[{}],"events":[]}"#],
        ),
        (r#"{"events":["x"]}"#, vec![r#"{"events":["x"]}"#]),
        (r#"{"events":1}"#, vec![r#"{"events":1}"#]),
        (
            r#"{"event_name":"x","events":[{}]}"#,
            vec![r#"{"event_name":"x","events":[{}]}"#],
        ),
        (
            r#"{"live_activity_id":1,"events":[]}"#,
            vec![r#"{"live_activity_id":1,"events":[]}"#],
        ),
        ("{} 7 null", vec!["{}", "7", "null"]),
        ("[] \"x\"", vec!["\"x\""]),
        ("{} x", vec!["{}", "x"]),
        ("{}\n{'a':1}\n{}\r\n", vec!["{}", "{'a':1}", "{}"]),
        ("{}\n1x", vec!["{}", "1x"]),
        ("[{}]\n[{}", vec!["{}", "{}", ""]),
        ("[{}", vec!["{}", ""]),
        ("[{}{},]", vec!["{}", "{}"]),
        ("{'a':1}\n{}", vec!["{'a':1}", "{}"]),
        (r#"{"events":[{}],}"#, vec![r#"{"events":[{}],}"#]),
        ("\u{feff}{}", vec!["{}"]),
        ("[]", vec![]),
        ("[1,null]", vec!["1", "null"]),
        (r#"{"events":[{"a":1}]}{}"#, vec![r#"{"a":1}"#, "{}"]),
        (
            r#"{} {"events":[{"a":1}],}"#,
            vec!["{}", r#"{"events":[{"a":1}],}"#],
        ),
        (r#"{"e":[],"events":[],"a":1}7"#, vec!["7"]),
    ] {
        assert_eq!(cut(body), Ok(expected), "{body}");
    }
}

#[test]
fn a_form_or_a_page_is_not_searched_for_items() {
    for body in [
        "POST /hooks HTTP/1.1\r\nhost: a\r\n\r\n[{\"a\":1}]",
        "--x\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--x--\r\n",
        "<html>\n<script>\n{\"a\":1}\n</script>",
    ] {
        assert!(matches!(cut(body), Err(Malformed::NotJson(_))), "{body}");
    }
    // One line may be a damaged item.
    assert_eq!(cut("\"a\":1}\n{}\n").unwrap(), ["\"a\":1}", "{}"]);
}

#[test]
fn what_is_no_body_says_why() {
    assert_eq!(cut(""), Err(Malformed::Empty));
    assert_eq!(cut(" \n"), Err(Malformed::Empty));
    assert_eq!(cut("7"), Err(Malformed::NotItems("a number")));
    assert_eq!(cut("\"x\""), Err(Malformed::NotItems("a string")));
    for broken in ["{", "x {}", "nul", "7x", "[0,x]", r#"{"events":[{}]"#] {
        assert!(
            matches!(cut(broken), Err(Malformed::NotJson(_))),
            "{broken}"
        );
    }
    for wide in [
        &b"\xff\xfe{\0}\0"[..],
        b"\xfe\xff\0{\0}",
        b"[\0]\0",
        b"\0{\0}",
        b"\0\0\0[\0\0\0]",
    ] {
        assert_eq!(items(wide), Err(Malformed::Utf16));
    }
    // One byte of an item is no sign of another encoding.
    assert_eq!(items(b"{\0:1}\n{}").unwrap().len(), 2);
    let many = format!("[{}0]", "0,".repeat(MAX_ITEMS));
    assert_eq!(cut(&many), Err(Malformed::TooMany));
    let broken = format!("[{}{{}}] x", "{},".repeat(MAX_ITEMS - 1));
    assert_eq!(cut(&broken), Err(Malformed::TooMany));
    let long = vec![b' '; MAX_BODY + 1];
    assert_eq!(items(&long), Err(Malformed::TooLarge(MAX_BODY + 1)));
}
