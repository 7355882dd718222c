//! The names of providers: they stand in the providers' own modules, schemas, tests and
//! documents. Whatever else handles events of any provider names none.

use super::source::{Source, line_of};
use super::{files, module};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::ops::Range;
use std::path::Path;

/// The list of providers, and the folder of their modules.
const REGISTRY: &str = "core/src/provider/mod.rs";
const MODULES: &str = "core/src/provider";
/// Scripts of versions that were released stay as they are.
const RELEASED: &str = "sql/frozen";

/// A line for each place in these folders where a provider is named and should not be.
pub(super) fn offences(root: &Path, folders: &[&str]) -> Result<Vec<String>> {
    let names = providers(&read(root, Path::new(REGISTRY))?);
    ensure!(!names.is_empty(), "{REGISTRY} lists no provider");
    let mut found = Vec::new();
    for source in folders.iter().map(Path::new) {
        let all = files(root, source, "rs")?;
        let mut texts = Vec::new();
        let mut tests = Vec::new();
        for file in &all {
            let text = read(root, file)?;
            let module = module(source, file);
            let content = Source::read(&text, &module);
            tests.extend(content.test_modules.iter().cloned());
            texts.push((file, module, text, content));
        }
        for (file, module, text, content) in texts {
            if tests.iter().any(|test| module.starts_with(test)) {
                continue;
            }
            let list = (file == Path::new(REGISTRY)).then(|| list(&text)).flatten();
            let others = names.iter().filter(|name| !is_of(file, name));
            found.extend(named(file, &text, others, |at| {
                content.is_test(at) || list.as_ref().is_some_and(|list| list.contains(&at))
            }));
        }
        for file in files(root, source, "sql")? {
            if !file.starts_with(RELEASED) {
                let text = read(root, &file)?;
                found.extend(named(&file, &text, names.iter(), |_| false));
            }
        }
    }
    Ok(found)
}

/// Whether a file is in the module of this provider.
fn is_of(file: &Path, provider: &str) -> bool {
    let module = Path::new(MODULES).join(provider);
    file.starts_with(&module) || file == module.with_extension("rs")
}

/// Where the words of `providers! { a, b }` are.
fn list(registry: &str) -> Option<Range<usize>> {
    const START: &str = "\nproviders! {";
    let start = registry.find(START)? + START.len();
    let length = registry.get(start..)?.find('}')?;
    Some(start..start + length)
}

fn providers(registry: &str) -> Vec<String> {
    let list = list(registry).and_then(|list| registry.get(list));
    list.unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// A line for each place that names one of these, unless it may.
fn named<'n>(
    file: &Path,
    text: &str,
    names: impl Iterator<Item = &'n String>,
    may: impl Fn(usize) -> bool,
) -> Vec<String> {
    let lower = text.to_ascii_lowercase();
    let mut places: Vec<(usize, &str)> = names
        .flat_map(|name| lower.match_indices(name.as_str()))
        .filter(|(at, _)| !may(*at))
        .map(|(at, name)| (line_of(text, at), name))
        .collect();
    places.sort_unstable();
    places.dedup();
    places
        .into_iter()
        .map(|(line, name)| format!("{}:{line}: names {name}", file.display()))
        .collect()
}

fn read(root: &Path, file: &Path) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::tree;
    use super::*;

    const FOLDERS: [&str; 5] = [
        "core/src",
        "extension/src",
        "spool/src",
        "worker/src",
        "sql",
    ];

    #[test]
    fn a_providers_name_is_found_outside_its_places() {
        let folder = tree(&[
            (
                "core/src/provider/mod.rs",
                "mod x;\n\nproviders! { acme, hermes }\n// acme",
            ),
            ("core/src/provider/acme.rs", "const NAME: &str = \"acme\";"),
            ("core/src/provider/hermes/mod.rs", "// hermes"),
            (
                "core/src/provider/hermes/calls.rs",
                "// unlike acme, hermes",
            ),
            ("core/src/provider/options.rs", "// for acme alone"),
            (
                "core/src/lib.rs",
                "#[cfg(test)]\nmod acme_tests;\n// one that\n// Hermes sends, acme's: acme",
            ),
            ("core/src/acme_tests.rs", "// acme"),
            ("extension/src/lib.rs", ""),
            (
                "spool/src/lib.rs",
                "#[cfg(test)]\nmod tests { const A: &str = \"acme\"; }\n",
            ),
            ("worker/src/main.rs", "struct AcmeClient;"),
            ("sql/a.sql", "select 1;\nselect 'hermes';"),
            ("sql/frozen/a.sql", "select 'hermes';"),
        ]);
        assert_eq!(
            offences(folder.path(), &FOLDERS).unwrap(),
            [
                "core/src/lib.rs:4: names acme",
                "core/src/lib.rs:4: names hermes",
                "core/src/provider/hermes/calls.rs:1: names acme",
                "core/src/provider/mod.rs:4: names acme",
                "core/src/provider/options.rs:1: names acme",
                "worker/src/main.rs:1: names acme",
                "sql/a.sql:2: names hermes",
            ]
        );
    }

    #[test]
    fn a_registry_without_a_provider_is_an_error() {
        let folder = tree(&[("core/src/provider/mod.rs", "providers![]")]);
        assert!(offences(folder.path(), &FOLDERS).is_err());
    }
}
