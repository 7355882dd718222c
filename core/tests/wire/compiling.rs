//! The text of a `.proto` file.

use tidings_core::wire::{SchemaError, compile};

fn refused(proto: &str) -> String {
    let error = compile(proto).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn an_error_says_where() {
    let error = refused("syntax = \"proto3\";\nmessage A {\n  strin a = 1;\n}\n");
    assert_eq!(
        error,
        "the .proto text is wrong at line 3, column 3: name 'strin' is not defined"
    );
    let error = refused("syntax = \"proto3\";\nmessage A { string a = ; }");
    assert!(
        error.starts_with("the .proto text is wrong at line 2, column 24: expected"),
        "{error}"
    );
    let error = refused("message A { optional string a = 1; optional string b = 1; }");
    assert!(error.contains("line 1, column 56"), "{error}");
    for cut in ["syntax = \"proto3", "message A {", "/* ", "message"] {
        refused(cut);
    }
    refused("edition = \"2023\"; message A { string a = 1; }");
}

#[test]
fn only_protobufs_own_files_can_be_imported() {
    compile(
        "import \"google/protobuf/any.proto\"; message A { optional google.protobuf.Any a = 1; }",
    )
    .unwrap();
    let error = compile("syntax = \"proto3\";\nimport \"shop/types.proto\";\n").unwrap_err();
    assert_eq!(error, SchemaError::Import("shop/types.proto".to_owned()));
    assert!(error.to_string().contains("--include_imports"));
    for itself in ["schema.proto", "./schema.proto", "/etc/passwd", ""] {
        assert!(
            compile(&format!("import \"{itself}\";")).is_err(),
            "{itself}"
        );
    }
}

#[test]
fn nesting_and_length_end_in_an_error_and_not_in_the_stack() {
    let deep = |open: &str, close: &str| {
        let n = 100_000;
        format!("syntax = \"proto2\"; {}{}", open.repeat(n), close.repeat(n))
    };
    let texts = [
        deep("message A {", "}"),
        deep("message A { optional group G = 1 {", "}}"),
        deep("message A { oneof o {", "}}"),
        deep("option (a) = {a ", "}"),
        format!(
            "option (a) = {{ {} {} }};",
            "a {".repeat(100_000),
            "}".repeat(100_000)
        ),
        format!("option (a) = {{ a: {} }};", "[".repeat(100_000)),
        format!("option a = {}1;", "-".repeat(100_000)),
        "{".repeat(500_000),
        "/*".repeat(400_000),
        format!("message A {{ optional {} a = 1; }}", "a.".repeat(200_000)),
    ];
    for text in texts {
        refused(&text);
    }
    assert!(refused(&" ".repeat(2 << 20)).contains("beyond a limit"));
}
