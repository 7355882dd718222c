//! The places of the pieces of a damaged body. `core/tests/damage/` has the properties.

use super::*;

static WRAPPER: Wrapper = Wrapper {
    unless: &["name", "id"],
};

/// The pieces of a body.
fn cut(body: &str) -> Vec<&str> {
    let pieces = pieces(body.as_bytes(), Some(&WRAPPER), || {}).unwrap();
    let pieces = pieces.unwrap_or_default();
    let text = |piece: &Piece| &body[piece.start()..piece.end()];
    pieces.iter().map(text).collect()
}

#[track_caller]
fn is_cut<const N: usize>(body: &str, expected: [&str; N]) {
    assert_eq!(cut(body), expected, "{body}");
}

#[test]
fn damage_that_leaves_quotes_and_brackets_even_stays_in_its_item() {
    for bad in [
        r#"{"a":NaN}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        r#"{a:'x'}"#,
        "{\"a\":\"x\ny\"}",
        r#"{"a":"\x41"}"#,
        r#"{"a":"{"b": "c"}"}"#,
        r#"{"a":"say "no" twice"}"#,
        r#"{"a":"},{"b":1},{"}"#,
        r#"{"name":1,"a":[{"b":1} {"b":2}]}"#,
        r#"{{"a":1}}"#,
        "7x",
    ] {
        is_cut(&format!("[{{}},{bad},{{}}]"), ["{}", bad, "{}"]);
        let wrapped = format!(r#"{{"n":1,"events":[{{}}, {bad} ,{{}}],"m":2}}"#);
        is_cut(&wrapped, ["{}", bad, "{}"]);
        is_cut(&format!("{{}}\n{bad}\n{{}}"), ["{}", bad, "{}"]);
        is_cut(
            &format!("[\n  {{}},\n  {bad},\n  {{}}\n]\n"),
            ["{}", bad, "{}"],
        );
    }
}

#[test]
fn after_a_quote_or_a_bracket_the_elements_are_found_from_the_end() {
    for bad in [
        r#"{"a":"5" x"}"#,
        r#"{"a":"x,"b":"y"}"#,
        r#"{"a":x","b":"y"}"#,
        r#"{"a":{"b":1}"#,
        r#"{"a":1}}"#,
        r#"{"a":[1}"#,
        r#"{"a":[{"b":1]}"#,
        r#"{"a":[{"b":1},{"b":"5" x"},{"b":2}],"c":"d"}"#,
        r#"{"a":"cut"#,
        r#"{"a":1,"#,
        r#"{"a":"#,
    ] {
        is_cut(
            &format!(r#"[{{}},{bad},{{"a":1}},{{}}]"#),
            ["{}", bad, r#"{"a":1}"#, "{}"],
        );
        is_cut(
            &format!("[\n{{}},\n{bad},\n{{\"a\":1}},\n{{}}\n]"),
            ["{}", bad, r#"{"a":1}"#, "{}"],
        );
        is_cut(
            &format!(r#"{{"n":1,"events":[{{}},{bad},{{"a":1}},{{}}],"m":2}}"#),
            ["{}", bad, r#"{"a":1}"#, "{}"],
        );
    }
}

#[test]
fn what_may_be_inside_of_a_damaged_item_is_part_of_it() {
    // The array inside has no end.
    is_cut(
        r#"[{},{"l":[{"n":1},{"n":2},{"a":1}]"#,
        ["{}", r#"{"l":[{"n":1},{"n":2},{"a":1}]"#],
    );
    is_cut(
        r#"{"events":[{},{"l":[{"n":1},{"n":2},{"a":1}]}"#,
        ["{}", r#"{"l":[{"n":1},{"n":2},{"a":1}]}"#],
    );
    is_cut("{}\n{\"events\":[", ["{}", "{\"events\":["]);
    // It has no beginning.
    is_cut(
        r#"[{},{"n":1},{"n":2}],"b":3},{"a":1}]"#,
        [r#"{},{"n":1},{"n":2}],"b":3}"#, r#"{"a":1}"#],
    );
    is_cut(
        r#"{"events":[{},{"n":1},{"n":2}],"b":3},{"a":1}]}"#,
        [r#"{},{"n":1},{"n":2}],"b":3}"#, r#"{"a":1}"#],
    );
    // The item ends too early, or begins too late.
    is_cut(
        r#"[{},{"a":1},"b":2},{"a":1}]"#,
        ["{}", r#"{"a":1},"b":2}"#, r#"{"a":1}"#],
    );
    is_cut(r#"["b":2},{"a":1}]"#, [r#""b":2}"#, r#"{"a":1}"#]);
    // A bracket in it is open, and what comes next begins otherwise.
    is_cut(
        r#"[{},{"a":1,{"b":2},{"a":3}]"#,
        ["{}", r#"{"a":1,{"b":2}"#, r#"{"a":3}"#],
    );
    // It has no name, so that nothing says that it is.
    is_cut(
        r#"[{"a"],"b":[{"n":1}]}},{"a":3}]"#,
        [r#"{"a"],"b":[{"n":1}]}}"#, r#"{"a":3}"#],
    );
    is_cut(
        r#"{"events":[{},{"a":1,{"b":2}],"m":2}"#,
        ["{}", r#"{"a":1,{"b":2}],"m":2}"#],
    );
    is_cut(
        r#"[{},{"cut,{"a":1},{}]"#,
        [r#"{},{"cut"#, r#"{"a":1}"#, "{}"],
    );
    // It is an item with an array, and no wrapper.
    let item = r#"{"l":[{"n":1},{"n":"5" x"},{"n":2}],"name":"a"}"#;
    is_cut(item, [item]);
    let item = r#"{"l":[{"n":1},{"n":x}],"m":[{"n":2}]}"#;
    is_cut(item, [item]);
}

#[test]
fn a_line_is_damaged_alone() {
    for bad in [
        r#"{"a":"5" x"}"#,
        r#"{"a":"cut"#,
        r#"{"a":1"#,
        r#"{"a":1,"#,
        r#"{"a":[1,2"#,
        r#"{"a":1}}"#,
        r#"{"a":1},"b":2}"#,
        r#""a":1}"#,
        r#"["a":1}"#,
        "[1,2",
        r#"{"a":[{"n":1},{"n":2"#,
        "ok",
        "\"ok\"",
        r#"{"a":1} ok"#,
    ] {
        let body = format!("{{}}\n{bad}\n{{\"name\":1,\"a\":[{{\"n\":1}}]}}\r\n{{}}\n");
        let pieces = cut(&body);
        let (first, rest) = pieces.split_first().unwrap();
        let (last, rest) = rest.split_last().unwrap();
        let (next, rest) = rest.split_last().unwrap();
        assert_eq!(
            [*first, *next, *last],
            ["{}", r#"{"name":1,"a":[{"n":1}]}"#, "{}"],
            "{body}"
        );
        assert_eq!(rest.join(" "), bad, "{body}");
    }
    // An array on each line.
    is_cut(
        "[{\"a\":1}]\n[{},{\"a\":\"5\" x\"},{}]\n[{}]\n",
        [r#"{"a":1}"#, "{}", r#"{"a":"5" x"}"#, "{}", "{}"],
    );
}

#[test]
fn an_array_may_end_too_early_or_not_at_all() {
    is_cut("[{}],[{}]", ["{}", ",[{}]"]);
    is_cut("[{}],{}]", ["{}", "]", "{}"]);
    is_cut("[{}]]", ["{}", "]"]);
    is_cut("[{}] ok", ["{}", "ok"]);
    is_cut("[{},{}", ["{}", "{}", ""]);
    is_cut("[{},", ["{}", ""]);
    is_cut("[{},,{}]", ["{}", "", "{}"]);
    is_cut("[{},{x},]", ["{}", "{x}"]);
}

#[test]
fn a_body_without_an_object_has_no_pieces() {
    for body in [
        "x", "[x]", "[,,]", "{", "[{", "a=1&b=2", "<a/>", "]", "\"{}",
    ] {
        is_cut(body, []);
    }
}
