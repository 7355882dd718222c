//! The seeds of a target: kept inputs, earlier findings, the payloads of its provider or
//! the published vectors; and the words in them, as libFuzzer's dictionary.

use super::{files, named, target::Target};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tidings_harness::paths;

/// Stands between the parts of an input.
const APART: u8 = 0xff;

/// The longest word of a dictionary that libFuzzer takes, in bytes.
const MAX_WORD: usize = 64;

pub(super) fn plant(target: &Target) -> Result<()> {
    let testdata = paths::root().join("core/testdata");
    let mut seeds = Vec::new();
    for path in files(&target.kept())? {
        seeds.push((named(&path), fs::read(&path)?));
    }
    match target.name.as_str() {
        "wire" => seeds.extend(schemas()?),
        "spool" => seeds.extend(damages()),
        provider => seeds.extend(payloads(&testdata.join(provider))?),
    }
    for path in files(&testdata.join("vectors"))? {
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let value = serde_json::from_slice(&fs::read(&path)?)
                .with_context(|| format!("{} is not JSON", path.display()))?;
            seeds.extend(vectors(&target.name, &named(&path), &value));
        }
    }
    for (name, seed) in &seeds {
        fs::write(target.corpus.join(name), seed)?;
    }
    // Earlier findings are tried first: either they are found again, or they have been
    // fixed.
    for path in files(&target.findings)? {
        fs::rename(&path, target.corpus.join(named(&path)))?;
    }
    let mut words: BTreeSet<String> = seeds.iter().flat_map(|(_, seed)| words(seed)).collect();
    words.retain(|word| (1..=MAX_WORD).contains(&word.len()));
    let lines = words.iter().map(|word| dictionary_line(word));
    // libFuzzer refuses a dictionary that is empty.
    let lines: String = std::iter::once("# words of the seeds\n".to_owned())
        .chain(lines)
        .collect();
    fs::write(&target.dictionary, lines)?;
    Ok(())
}

/// The payloads of a provider, each with the options of its source where it has some.
fn payloads(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for path in files(folder)? {
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let mut seed = fs::read(&path)?;
            if let Ok(options) = fs::read(path.with_extension("options")) {
                seed.push(APART);
                seed.extend(options);
            }
            seeds.push((named(&path), seed));
        }
    }
    Ok(seeds)
}

/// One damage of each kind to each moment of a spool's file, as `fuzz/src/spool.rs` reads
/// them.
fn damages() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for moment in 0..6 {
        for kind in 0..6 {
            // At the second page: how many bytes, or which moment's page, and what.
            let seed = vec![moment, kind, 0, 0x10, 0, 4, 0, 0x20, 0, 9];
            seeds.push((format!("damage-{moment}-{kind}"), seed));
        }
    }
    seeds
}

/// Every `.proto` file there is, each with its names where it has some.
fn schemas() -> Result<Vec<(String, Vec<u8>)>> {
    let root = paths::root();
    let mut folders = vec![root.join("core/testdata/wire"), root.join("fuzz/src")];
    // A folder for each provider, and in it one for each version.
    for provider in directories(&root.join("proto"))? {
        folders.extend(directories(&provider)?);
    }
    let mut seeds = Vec::new();
    for folder in folders {
        for path in files(&folder)? {
            let name = named(&path);
            let Some(of) = name.strip_suffix(".proto") else {
                continue;
            };
            let names =
                path.with_file_name(format!("{}_names.json", of.trim_end_matches("_variant")));
            let names = fs::read(names).unwrap_or_else(|_| b"{}".to_vec());
            let seed = [&b"t"[..], &names, &[APART], &fs::read(&path)?, &[APART]].concat();
            seeds.push((name, seed));
        }
    }
    Ok(seeds)
}

/// The folders in a folder.
fn directories(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            directories.push(entry.path());
        }
    }
    directories.sort();
    Ok(directories)
}

/// The vectors of a file that a target reads: texts of ULIDs, or signatures with their
/// keys and bodies. Named after the file.
fn vectors(target: &str, file: &str, value: &Value) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    walk(value, &mut |value| match (target, value) {
        ("ulid", Value::String(text)) if file.starts_with("ulid") => {
            seeds.push(text.as_bytes().to_vec());
        }
        ("signature", Value::Object(_)) => seeds.extend(signature(value)),
        _ => {}
    });
    let named = |(index, seed)| (format!("{file}-{index}"), seed);
    seeds.into_iter().enumerate().map(named).collect()
}

/// The signature as text, the key and the body, apart by a byte 0xFF.
fn signature(vector: &Value) -> Option<Vec<u8>> {
    let get = |name: &str| {
        let value = vector.get(name).or(vector.get(format!("{name}_hex")))?;
        value.as_str()
    };
    let (tag, key, body) = (get("tag")?, get("key")?, get("msg")?);
    let (key, body) = (hex::decode(key).ok()?, hex::decode(body).ok()?);
    Some([tag.as_bytes(), &key, &body].join(&APART))
}

fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Array(values) => values.iter().for_each(|value| walk(value, visit)),
        Value::Object(fields) => fields.values().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

/// The names and the texts of a body, the words of a `.proto` file.
fn words(seed: &[u8]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    if seed.first() == Some(&b't') {
        let text = String::from_utf8_lossy(seed);
        let of_a_word = |c: char| c.is_alphanumeric() || "_.".contains(c);
        words.extend(text.split(|c| !of_a_word(c)).map(str::to_owned));
    }
    let values = serde_json::Deserializer::from_slice(seed).into_iter::<Value>();
    for value in values.map_while(Result::ok) {
        walk(&value, &mut |value| match value {
            Value::String(text) => drop(words.insert(text.clone())),
            Value::Object(fields) => words.extend(fields.keys().cloned()),
            _ => {}
        });
    }
    words
}

/// A word as libFuzzer's dictionaries write it.
fn dictionary_line(word: &str) -> String {
    let mut line = String::from("\"");
    for byte in word.bytes() {
        match byte {
            b'"' | b'\\' => line.extend(['\\', byte.into()]),
            b' '..=b'~' => line.push(byte.into()),
            _ => drop(write!(line, "\\x{byte:02X}")),
        }
    }
    line + "\"\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_vector_becomes_an_input() {
        let file = json!({"tests": [
            {"key": "0102", "msg": "", "tag": "aa"},
            {"key_hex": "03", "msg_hex": "04", "tag_hex": "bb", "name": "x"},
        ]});
        assert_eq!(
            vectors("signature", "f", &file),
            [
                ("f-0".to_owned(), b"aa\xff\x01\x02\xff".to_vec()),
                ("f-1".to_owned(), b"bb\xff\x03\xff\x04".to_vec()),
            ]
        );
        assert_eq!(vectors("ppoppo", "f", &file), []);
    }

    #[test]
    fn a_dictionary_has_the_words_of_the_seeds() {
        let words = words(b"{\"a\":[\"b\\n\",1]}\n{\"\xc3\xa9\":7}");
        let lines: Vec<_> = words.iter().map(|word| dictionary_line(word)).collect();
        assert_eq!(lines, ["\"a\"\n", "\"b\\x0A\"\n", "\"\\xC3\\xA9\"\n"]);
        assert!(super::words(b"t{}\xffsyntax = \"proto3\";\xff").contains("proto3"));
    }
}
