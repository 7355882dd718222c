//! `docs/reference.md`: what a database that has the extension offers, written from the
//! comments in its catalog. The same on every version of Postgres.
//!
//! - `catalog` asks the database
//! - `groups` is the order in which a reader needs the objects
//! - `page` writes the document, `prose` turns a comment into Markdown

mod catalog;
mod groups;
mod page;
mod prose;

use self::catalog::Catalog;
use anyhow::{Result, bail};
use std::fs;
use std::path::PathBuf;
use tidings_harness::cluster::Durability;
use tidings_harness::paths;
use tidings_harness::server::Server;
use tidings_harness::stage::{self, DATABASE};

/// Writes the document anew.
pub(crate) fn write(server: &Server) -> Result<()> {
    fs::write(path(), generate(server)?)?;
    println!("  wrote {}", path().display());
    Ok(())
}

/// Fails unless the document is what the installed extension says.
pub(crate) fn check(server: &Server) -> Result<()> {
    let (written, generated) = (fs::read_to_string(path())?, generate(server)?);
    let Some(difference) = difference(&written, &generated) else {
        return Ok(());
    };
    bail!(
        "{} is out of date: run `target/release/xtask reference`\n{difference}",
        path().display()
    )
}

fn path() -> PathBuf {
    paths::root().join("docs/reference.md")
}

fn generate(server: &Server) -> Result<String> {
    let cluster = stage::cluster(server, Durability::Fast)?;
    let catalog = Catalog::read(&mut cluster.connect(DATABASE)?)?;
    page::write(&catalog)
}

/// The first line that differs, with its number.
fn difference(written: &str, generated: &str) -> Option<String> {
    if written == generated {
        return None;
    }
    let (mut old, mut new) = (written.lines(), generated.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                let shown = |line: Option<&str>| line.unwrap_or("(its end)").to_owned();
                return Some(format!(
                    "line {number} is\n  {}\nand is to be\n  {}",
                    shown(old),
                    shown(new)
                ));
            }
        }
    }
    Some("the ends of lines differ".to_owned())
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let said = difference("a\nb\n", "a\nc\nd\n").unwrap();
        assert_eq!(said, "line 2 is\n  b\nand is to be\n  c");
        let said = difference("a\n", "a\nb\n").unwrap();
        assert_eq!(said, "line 2 is\n  (its end)\nand is to be\n  b");
        assert!(difference("a\n", "a").is_some());
    }
}
