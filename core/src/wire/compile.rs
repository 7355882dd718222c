//! The text of a `.proto` file, compiled in memory.

use std::path::Path;

use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};

use super::{Proto, SchemaError};

/// The name of a text that has none; never shown.
const NAME: &str = "schema.proto";

/// Limit on the text, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// Compiles the text of one `.proto` file to an encoded `FileDescriptorSet`. It may
/// import `google/protobuf/*`, and nothing else.
pub fn compile(proto: &str) -> Result<Vec<u8>, SchemaError> {
    compile_as(NAME, proto)
}

impl Proto {
    /// Compiles the file to an encoded `FileDescriptorSet`, in which it has its own name.
    pub fn compile(&self) -> Result<Vec<u8>, SchemaError> {
        compile_as(self.name, self.text)
    }
}

fn compile_as(name: &str, proto: &str) -> Result<Vec<u8>, SchemaError> {
    if proto.len() > MAX_TEXT {
        return Err(SchemaError::TooLarge(format!(
            "the .proto text has {} bytes, of at most {MAX_TEXT}",
            proto.len()
        )));
    }
    let odd = |c: char| c.is_control() && !c.is_ascii_whitespace();
    if let Some(line) = proto.lines().position(|line| line.contains(odd)) {
        return Err(SchemaError::Compile(format!(
            "line {} has a control character",
            line + 1
        )));
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Text {
        name: name.to_owned(),
        text: proto.to_owned(),
    });
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler
        .open_file(name)
        .map_err(|error| describe(name, proto, &error))?;
    Ok(compiler.encode_file_descriptor_set())
}

struct Text {
    name: String,
    text: String,
}

impl FileResolver for Text {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        if name == self.name {
            File::from_source(name, &self.text)
        } else {
            Err(Error::file_not_found(name))
        }
    }

    fn resolve_path(&self, path: &Path) -> Option<String> {
        (path == Path::new(&self.name)).then(|| self.name.clone())
    }
}

/// The compiler's `Debug` is `file:line:column: reason` if it knows the location.
fn describe(name: &str, proto: &str, error: &Error) -> SchemaError {
    let text = format!("{error:?}");
    let reason = error.to_string();
    let reason = reason.lines().next().unwrap_or_default();
    let reason = reason.replace(char::is_control, " ");
    if error.is_file_not_found() {
        let import = reason.split('\'').nth(1).unwrap_or_default();
        return SchemaError::Import(import.to_owned());
    }
    let place = text.strip_prefix(name).and_then(|rest| {
        let mut parts = rest.split(':').skip(1);
        let line: usize = parts.next()?.trim().parse().ok()?;
        let column: usize = parts.next()?.trim().parse().ok()?;
        Some((line, column))
    });
    match place {
        // The end of the text counts as a line of its own, which would be confusing.
        Some((line, column)) if line <= proto.lines().count().max(1) => SchemaError::Syntax {
            line,
            column,
            reason,
        },
        _ => SchemaError::Compile(reason),
    }
}
