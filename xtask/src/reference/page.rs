//! The document.

use super::catalog::{Catalog, Function, Line, Relation, Returns, Setting};
use super::groups::{GROUPS, Group};
use super::prose::{cell, paragraphs};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Longer declarations stand in several lines.
const WIDTH: usize = 88;

const HEAD: &str = "\
# Reference

What a database that has the extension offers. Everything is in the schema `tidings`; what \
begins with an underscore is internal and not listed.

This document is written from the comments in the catalog, which psql shows too: \
`\\df+ tidings.poll`, `\\d+ tidings.event`. `target/release/xtask reference` writes it anew.

| chapter | what for | objects |
|---|---|---|
";

/// The whole of it; an error where an object has no chapter, or no comment.
pub(super) fn write(catalog: &Catalog) -> Result<String> {
    is_complete(catalog)?;
    let mut page = HEAD.to_owned();
    for group in GROUPS {
        let links = group.objects.iter().map(|name| link(catalog, name));
        let links = links.collect::<Vec<_>>().join(", ");
        writeln!(
            page,
            "| [{}](#{}) | {} | {links} |",
            group.title,
            anchor(group.title),
            group.purpose
        )?;
    }
    let names = catalog
        .settings
        .iter()
        .map(|setting| format!("`{}`", setting.name));
    let names = names.collect::<Vec<_>>().join(", ");
    writeln!(
        page,
        "| [Settings](#settings) | Change what the extension does in a session. | {names} |"
    )?;
    for group in GROUPS {
        chapter(&mut page, catalog, group)?;
    }
    settings(&mut page, &catalog.settings)?;
    Ok(page)
}

fn chapter(page: &mut String, catalog: &Catalog, group: &Group) -> Result<()> {
    writeln!(page, "\n## {}\n\n{}", group.title, group.purpose)?;
    if group.objects.contains(&"gen_ulid") {
        ulid(page, &catalog.ulid)?;
    }
    for name in group.objects {
        let functions = catalog.functions.iter().filter(|it| it.name == *name);
        for (index, of_name) in functions.enumerate() {
            if index == 0 {
                writeln!(page, "\n### {}", heading("", name))?;
            }
            function(page, of_name)?;
        }
        for of_name in catalog.relations.iter().filter(|it| it.name == *name) {
            relation(page, of_name)?;
        }
    }
    Ok(())
}

fn function(page: &mut String, function: &Function) -> Result<()> {
    writeln!(page, "\n```sql\n{}\n```\n", declaration(function))?;
    writeln!(page, "{}", paragraphs(&function.comment))?;
    Ok(())
}

fn declaration(function: &Function) -> String {
    let listed = |items: &[String], wide: bool| match wide && !items.is_empty() {
        false => format!("({})", items.join(", ")),
        true => format!("(\n  {}\n)", items.join(",\n  ")),
    };
    let write = |wide_arguments: bool, wide_columns: bool| {
        let returns = match &function.returns {
            Returns::Type(name) => name.clone(),
            Returns::Columns { set, columns } => {
                let what = if *set { "table" } else { "record" };
                format!("{what} {}", listed(columns, wide_columns))
            }
        };
        let arguments = listed(&function.arguments, wide_arguments);
        format!("tidings.{}{arguments} returns {returns}", function.name)
    };
    let fits = |text: &String| text.lines().all(|line| line.len() <= WIDTH);
    let ways = [(false, false), (true, false), (false, true)];
    let ways = ways.map(|(arguments, columns)| write(arguments, columns));
    ways.into_iter()
        .find(fits)
        .unwrap_or_else(|| write(true, true))
}

fn relation(page: &mut String, relation: &Relation) -> Result<()> {
    let title = heading(&relation.what, &relation.name);
    writeln!(page, "\n### {title}\n\n{}\n", paragraphs(&relation.comment))?;
    writeln!(page, "| column | type | meaning |\n|---|---|---|")?;
    for column in &relation.columns {
        let (name, of_type) = (&column.name, &column.of_type);
        let default = match &column.default {
            Some(default) => format!(", default `{default}`"),
            None => String::new(),
        };
        writeln!(
            page,
            "| `{name}` | `{of_type}`{default} | {} |",
            cell(&column.comment)
        )?;
    }
    Ok(())
}

/// The type itself, and tables of what may be done with its values.
fn ulid(page: &mut String, lines: &[Line]) -> Result<()> {
    let mut table = "";
    for line in lines {
        if line.what == "Type" {
            writeln!(
                page,
                "\n### Type `{}`\n\n{}",
                line.object,
                paragraphs(&line.comment)
            )?;
            continue;
        }
        if line.what != table {
            let what = line.what.to_lowercase();
            writeln!(page, "\n| {what} | meaning |\n|---|---|")?;
            table = &line.what;
        }
        writeln!(page, "| `{}` | {} |", line.object, cell(&line.comment))?;
    }
    Ok(())
}

fn settings(page: &mut String, settings: &[Setting]) -> Result<()> {
    writeln!(
        page,
        "\n## Settings\n\n| setting | default | meaning |\n|---|---|---|"
    )?;
    for setting in settings {
        let comment = cell(&setting.comment);
        writeln!(
            page,
            "| `{}` | `{}` | {comment} |",
            setting.name, setting.default
        )?;
    }
    Ok(())
}

fn heading(what: &str, name: &str) -> String {
    format!("{what} `{name}`").trim().to_owned()
}

fn link(catalog: &Catalog, name: &str) -> String {
    let relation = catalog.relations.iter().find(|it| it.name == name);
    let title = heading(relation.map_or("", |it| &it.what), name);
    format!("[`{name}`](#{})", anchor(&title))
}

/// The name that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|sign| match sign {
        ' ' => Some('-'),
        '_' | '-' => Some(sign),
        _ => sign.is_alphanumeric().then(|| sign.to_ascii_lowercase()),
    });
    kept.collect()
}

fn is_complete(catalog: &Catalog) -> Result<()> {
    let functions = catalog.functions.iter().map(|it| it.name.as_str());
    let relations = catalog.relations.iter().map(|it| it.name.as_str());
    let there: BTreeSet<_> = functions.chain(relations).collect();
    let grouped: BTreeSet<_> = GROUPS.iter().flat_map(|it| it.objects).copied().collect();
    let missing: Vec<_> = there.difference(&grouped).collect();
    ensure!(
        missing.is_empty(),
        "no chapter of xtask/src/reference/groups.rs has {missing:?}"
    );
    let gone: Vec<_> = grouped.difference(&there).collect();
    ensure!(
        gone.is_empty(),
        "xtask/src/reference/groups.rs names {gone:?}, which do not exist"
    );
    for function in &catalog.functions {
        ensure!(
            !function.comment.is_empty(),
            "{} has no comment",
            function.name
        );
    }
    for relation in &catalog.relations {
        let name = &relation.name;
        ensure!(!relation.comment.is_empty(), "{name} has no comment");
        for column in &relation.columns {
            ensure!(
                !column.comment.is_empty(),
                "{name}.{} has no comment",
                column.name
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_chapter_takes_the_link_of_an_object() {
        for group in GROUPS {
            let title = anchor(group.title);
            let objects = GROUPS.iter().flat_map(|it| it.objects);
            assert!(objects.into_iter().all(|it| **it != title), "{title}");
        }
    }

    #[test]
    fn a_declaration_is_as_wide_as_it_may_be() {
        let mut function = Function {
            name: "f".to_owned(),
            arguments: Vec::new(),
            returns: Returns::Type("void".to_owned()),
            comment: String::new(),
        };
        assert_eq!(declaration(&function), "tidings.f() returns void");
        let columns = vec!["a_long_name_of_a_column text".to_owned(); 3];
        function.returns = Returns::Columns { set: true, columns };
        assert_eq!(
            declaration(&function),
            "tidings.f() returns table (\n  a_long_name_of_a_column text,\n  \
             a_long_name_of_a_column text,\n  a_long_name_of_a_column text\n)"
        );
        function.arguments = vec!["name text".to_owned()];
        function.returns = Returns::Type("a_type".repeat(14));
        let declared = declaration(&function);
        assert!(
            declared.starts_with("tidings.f(\n  name text\n) returns"),
            "{declared}"
        );
    }
}
