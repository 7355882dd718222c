//! Generates the scripts of the extension from the files in `sql/`. The script of `CREATE
//! EXTENSION tidings` comes from `sql/install.sql`, which names the files and their order.
//! The scripts of `ALTER EXTENSION tidings UPDATE` come from `sql/upgrade` and from the same
//! files as a fresh installation, so that both lead to the same result.
//!
//! A script is SQL, and may contain this directive as a line:
//!
//! - `-- include NAME.sql`: the whole file, whose objects are all new
//!
//! An upgrade script may also contain these:
//!
//! - `-- replace NAME.sql`: the whole file, whose functions and views may exist already
//! - `-- take NAME from FILE.sql`: one function or view of the file, which may exist already,
//!   or one type or aggregate, which must be new
//! - `-- comments NAME.sql`: the comments in the file
//!
//! An upgrade script grants and revokes on new objects only, by name, except for rights by default,
//! after which it mends what Postgres has recorded. After a GRANT or REVOKE
//! in a script, Postgres records the whole list of rights on the object as the extension's
//! own, including those that roles were granted since. A replaced file therefore contains no
//! GRANT or REVOKE, and no statement concerns the rights on the schema or on all objects in it.
//!
//! Released scripts are kept unchanged in `sql/frozen`, so that an old version can be
//! installed and its upgrade tested. `sql/upgrade` therefore has only the step to the next
//! version.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use tidings_harness::paths;

/// The version of the scripts and of the library, which is that of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes the control file, the installation script, every upgrade script and every frozen
/// one into the package's folder.
pub(crate) fn write(into: &Path) -> Result<()> {
    let sql = paths::root().join("sql");
    let to = into.join(format!("tidings--{VERSION}.sql"));
    let whole = assemble(&read(&sql.join("install.sql"))?, |name| {
        read(&sql.join(name))
    })?;
    fs::write(&to, whole).with_context(|| format!("cannot write {}", to.display()))?;
    let control = read(&paths::root().join("extension/tidings.control"))?;
    fs::write(
        into.join("tidings.control"),
        control.replace("@VERSION@", VERSION),
    )
    .context("cannot write tidings.control")?;
    for script in scripts(&sql.join("frozen"))? {
        let name = script.file_name().context("a file without a name")?;
        fs::copy(&script, into.join(name))
            .with_context(|| format!("cannot copy {}", script.display()))?;
    }
    for script in scripts(&sql.join("upgrade"))? {
        let versions = script.file_stem().context("a file without a name")?;
        let to = into.join(format!("tidings--{}.sql", versions.to_string_lossy()));
        let text = read(&script)?;
        let whole = expand(&text, |name| read(&sql.join(name)))?;
        fs::write(&to, whole).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// An upgrade script, which names what it grants on or revokes on.
fn expand(script: &str, read: impl Fn(&str) -> Result<String>) -> Result<String> {
    let whole = assemble(script, read)?;
    let broad = on_rights(&whole).find(|it| it.contains(" on all ") || it.contains(" on schema "));
    if let Some(broad) = broad {
        anyhow::bail!("name what is new, in place of: {broad}");
    }
    Ok(whole)
}

/// A script with what its lines name in their place.
fn assemble(script: &str, read: impl Fn(&str) -> Result<String>) -> Result<String> {
    let mut whole = String::new();
    for line in script.lines() {
        if let Some(name) = line.strip_prefix("-- include ") {
            whole.push_str(&read(name)?);
        } else if let Some(name) = line.strip_prefix("-- replace ") {
            let sql = read(name)?;
            anyhow::ensure!(
                on_rights(&sql).next().is_none(),
                "{name} grants or revokes: take from it what is new"
            );
            whole.push_str(&replacing(&sql));
        } else if let Some((function, name)) = line
            .strip_prefix("-- take ")
            .and_then(|rest| rest.split_once(" from "))
        {
            whole.push_str(&replacing(&object_of(&read(name)?, function)?));
        } else if let Some(name) = line.strip_prefix("-- comments ") {
            whole.push_str(&comments_of(&read(name)?));
        } else {
            whole.push_str(line);
        }
        whole.push('\n');
    }
    Ok(whole)
}

/// The first lines of the statements that grant and revoke, outside functions.
fn on_rights(sql: &str) -> impl Iterator<Item = &str> {
    sql.lines()
        .filter(|line| line.starts_with("grant ") || line.starts_with("revoke "))
}

/// The same statements, for functions and views that exist.
fn replacing(sql: &str) -> String {
    let replaced = sql.lines().map(|line| {
        for object in ["function ", "view "] {
            if let Some(rest) = line.strip_prefix("create ")
                && rest.starts_with(object)
            {
                return format!("create or replace {rest}\n");
            }
        }
        format!("{line}\n")
    });
    replaced.collect()
}

/// The statements that create what has this name: a function, under each of its signatures, an
/// aggregate, a view or a type. A statement ends with the first line that ends with a semicolon and is no part of a body.
fn object_of(sql: &str, name: &str) -> Result<String> {
    let creates = |line: &str, what: &str, next: char| {
        line.strip_prefix(what)
            .map(|rest| rest.strip_prefix("tidings.").unwrap_or(rest))
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(next))
    };
    let starts = |line: &str| {
        [
            ("function ", '('),
            ("aggregate ", '('),
            ("view ", ' '),
            ("type ", ' '),
        ]
        .into_iter()
        .any(|(what, next)| creates(line, &format!("create {what}"), next))
    };
    let taken = statements(sql, starts);
    anyhow::ensure!(!taken.is_empty(), "there is no {name} to take");
    Ok(taken)
}

fn comments_of(sql: &str) -> String {
    statements(sql, |line| line.starts_with("comment on "))
}

/// The statements whose first line is chosen.
fn statements(sql: &str, chosen: impl Fn(&str) -> bool) -> String {
    let mut taken = String::new();
    let (mut inside, mut in_body) = (false, false);
    for line in sql.lines() {
        if !in_body && chosen(line) {
            inside = true;
        }
        if line.matches("$$").count() % 2 == 1 {
            in_body = !in_body;
        }
        if inside {
            taken.push_str(line);
            taken.push('\n');
        }
        if !in_body && line.ends_with(';') {
            inside = false;
        }
    }
    taken
}

fn scripts(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut scripts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_comments_are_taken_out_of_a_file() {
        let file = |_: &str| {
            Ok("create function f(a int)\nas $$\n  select 1;\n$$;\ncomment on function f(int) is\n  'f';\n\
                create function f(\n  b text\n)\n  as 'x';\ncreate function fg() as $$ ; $$;\n"
                .to_owned())
        };
        assert_eq!(
            expand("-- take f from a\n-- comments a\n", file).unwrap(),
            "create or replace function f(a int)\nas $$\n  select 1;\n$$;\n\
             create or replace function f(\n  b text\n)\n  as 'x';\n\n\
             comment on function f(int) is\n  'f';\n\n"
        );
        assert!(expand("-- take h from a\n", file).is_err());
    }

    #[test]
    fn an_update_leaves_the_rights_alone_that_roles_have() {
        let file = |_: &str| {
            Ok(
                "create function f();\nrevoke all on all functions in schema s from public;\n"
                    .to_owned(),
            )
        };
        assert!(expand("-- include a\n", file).is_err());
        assert!(expand("-- replace a\n", file).is_err());
        assert!(expand("-- take f from a\n", file).is_ok());
        assert!(expand("grant usage on schema s to public;\n", file).is_err());

        let by_name = |_: &str| Ok("revoke all on function f() from public;\n".to_owned());
        assert!(expand("-- include a\n", by_name).is_ok());
        assert!(expand("-- replace a\n", by_name).is_err());
        let inside = |_: &str| {
            Ok("create function g()\nas $$\n  grant usage on schema s to r;\n$$;\n".to_owned())
        };
        assert!(expand("-- replace a\n", inside).is_ok());
    }

    /// A file that nobody includes would be missing from every new installation.
    #[test]
    fn the_installation_includes_every_file_once() {
        let sql = paths::root().join("sql");
        let install = read(&sql.join("install.sql")).unwrap();
        let includes = install
            .lines()
            .filter_map(|line| line.strip_prefix("-- include "));
        let mut included: Vec<_> = includes.map(|name| sql.join(name)).collect();
        included.sort();
        let mut files = scripts(&sql).unwrap();
        files.retain(|file| !file.ends_with("install.sql"));
        assert_eq!(included, files);
    }

    #[test]
    fn files_are_included_as_they_are_or_so_that_they_replace() {
        let file = |name: &str| {
            Ok(format!(
                "create function {name}();\n  create function x;\ncreate type t;\n"
            ))
        };
        let script = "-- words\n-- include a\n-- replace b\nselect 1;\n";
        assert_eq!(
            expand(script, file).unwrap(),
            "-- words\n\
             create function a();\n  create function x;\ncreate type t;\n\n\
             create or replace function b();\n  create function x;\ncreate type t;\n\n\
             select 1;\n"
        );
    }
}
