//! SQL declares the library's functions by hand, so that nothing but this test compares
//! what it says of them with what they are: a wrong type would crash the server.

use crate::upgrade::{self, RELEASED};
use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _};
use pgrx_sql_entity_graph::metadata::{Returns, SqlArrayMapping, SqlMapping};
use pgrx_sql_entity_graph::{
    PgExternEntity, PgExternReturnEntity, SqlGraphEntity, UsedTypeEntity, section,
};
use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use tidings_e2e::{on_cluster, server};
use tidings_harness::stage::DATABASE;

/// What is known of a function on both sides. Types are named as Postgres names them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    arguments: Vec<String>,
    /// Of a function without arguments nothing is said.
    is_strict: Option<bool>,
    returns_set: bool,
    /// The type that it returns, or those of its columns.
    columns: Vec<String>,
}

/// So that the extension's own types have the names that Rust knows them by.
const OWN_TYPES: &str = "set search_path = tidings, pg_catalog";

/// By the symbol of the library.
type Functions = BTreeMap<String, Function>;

#[test]
fn every_declaration_fits_the_library() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        client.batch_execute(OWN_TYPES)?;
        let library = library(&mut client)?;
        let mut called: BTreeSet<String> = BTreeSet::new();
        let current = declared(&mut client)?;
        ensure!(current.len() > 20, "{} declarations", current.len());
        for (symbol, declared) in current {
            let plain = plain(&symbol);
            let function = plain
                .as_ref()
                .or_else(|| library.get(&symbol))
                .context(symbol.clone())?;
            ensure!(
                declared == *function,
                "{symbol}: SQL says {declared:#?}\nand Rust {function:#?}"
            );
            called.insert(symbol);
        }
        for version in RELEASED {
            let mut client = upgrade::installed(cluster, version)?;
            client.batch_execute(OWN_TYPES)?;
            for (symbol, declared) in self::declared(&mut client)? {
                let mut function = library.get(&symbol).context(symbol.clone())?.clone();
                // Columns that were added since are at the end, and left out by Postgres.
                function.columns.truncate(declared.columns.len());
                ensure!(
                    declared == function,
                    "{symbol}: SQL of {version} says {declared:#?}\nand Rust {function:#?}"
                );
                called.insert(symbol);
            }
        }
        let uncalled: Vec<_> = library
            .keys()
            .filter(|symbol| !called.contains(*symbol))
            .collect();
        ensure!(uncalled.is_empty(), "no SQL declares {uncalled:?}");
        Ok(())
    })
}

/// The plain C functions, of which pgrx notes nothing.
fn plain(symbol: &str) -> Option<Function> {
    let (arguments, returns): (&[&str], &str) = match symbol {
        "ulid_eq" | "ulid_ne" | "ulid_lt" | "ulid_le" | "ulid_ge" | "ulid_gt" => {
            (&["ulid", "ulid"], "boolean")
        }
        "ulid_cmp" => (&["ulid", "ulid"], "integer"),
        "ulid_hash" => (&["ulid"], "integer"),
        "ulid_hash_extended" => (&["ulid", "bigint"], "bigint"),
        "ulid_out" => (&["ulid"], "cstring"),
        "ulid_send" => (&["ulid"], "bytea"),
        "note_id" => (&["ulid"], "boolean"),
        "ulid_sortsupport" => (&["internal"], "void"),
        "record_greater" => (&["anyelement", "anyelement"], "anyelement"),
        _ => return None,
    };
    Some(Function {
        arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
        is_strict: Some(true),
        returns_set: false,
        columns: vec![returns.to_owned()],
    })
}

/// What SQL says.
fn declared(client: &mut Client) -> Result<Functions> {
    let rows = client.query(
        "select p.prosrc, p.proisstrict, p.proretset,
           array(select format_type(a.type, null) from unnest(p.proargtypes) with ordinality a (type, n) order by a.n),
           case when p.proallargtypes is null then array[format_type(p.prorettype, null)]
             else array(
               select format_type(a.type, null)
               from unnest(p.proallargtypes, p.proargmodes) with ordinality a (type, mode, n)
               where a.mode in ('o', 't') order by a.n)
           end
         from pg_proc p join pg_language l on l.oid = p.prolang
         where l.lanname = 'c' and p.pronamespace = 'tidings'::regnamespace",
        &[],
    )?;
    rows.iter()
        .map(|row| {
            let arguments: Vec<String> = row.try_get(3)?;
            let function = Function {
                is_strict: (!arguments.is_empty()).then_some(row.try_get(1)?),
                returns_set: row.try_get(2)?,
                columns: row.try_get(4)?,
                arguments,
            };
            Ok((row.try_get(0)?, function))
        })
        .collect()
}

/// What the library's Rust functions are, as pgrx notes it beside each of them.
fn library(client: &mut Client) -> Result<Functions> {
    let path = server()?.pkglibdir.join("tidings.so");
    let library = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let library = object::File::parse(&*library)?;
    let section = library
        .section_by_name(section::ELF_SECTION_NAME)
        .context("the library says nothing of its functions")?;
    let entities = section::decode_entities(section.data()?).map_err(anyhow::Error::msg)?;
    let mut functions = Functions::new();
    for entity in entities {
        if let SqlGraphEntity::Function(entity) = entity {
            let symbol = format!("{}_wrapper", entity.unaliased_name);
            let function = function(client, &entity).context(symbol.clone())?;
            functions.insert(symbol, function);
        }
    }
    Ok(functions)
}

fn function(client: &mut Client, entity: &PgExternEntity<'_>) -> Result<Function> {
    let arguments = entity.fn_args.iter().map(|argument| &argument.used_ty);
    // One that takes no null must not be called with one.
    let is_strict = arguments.clone().all(|argument| !argument.optional);
    let arguments: Vec<_> = arguments
        .map(|argument| match &argument.metadata.argument_sql {
            Ok(mapping) => named(client, mapping),
            Err(error) => bail!("{error}"),
        })
        .collect::<Result<_>>()?;
    let (returns_set, columns) = match &entity.fn_return {
        PgExternReturnEntity::None => (false, vec!["void".to_owned()]),
        PgExternReturnEntity::Type { ty } => returned(client, ty)?,
        PgExternReturnEntity::SetOf { ty } => (true, returned(client, ty)?.1),
        PgExternReturnEntity::Iterated { tys } => {
            let columns = tys.iter().map(|column| returned(client, &column.ty));
            let columns: Vec<_> = columns.collect::<Result<_>>()?;
            (true, columns.into_iter().flat_map(|(_, it)| it).collect())
        }
        PgExternReturnEntity::Trigger => (false, vec!["trigger".to_owned()]),
    };
    Ok(Function {
        is_strict: (!arguments.is_empty()).then_some(is_strict),
        arguments,
        returns_set,
        columns,
    })
}

fn returned(client: &mut Client, ty: &UsedTypeEntity<'_>) -> Result<(bool, Vec<String>)> {
    let (is_set, mappings) = match &ty.metadata.return_sql {
        Ok(Returns::One(mapping)) => (false, std::slice::from_ref(mapping)),
        Ok(Returns::SetOf(mapping)) => (true, std::slice::from_ref(mapping)),
        Ok(Returns::Table(mappings)) => (true, mappings.as_slice()),
        Err(error) => bail!("{error}"),
    };
    let columns = mappings.iter().map(|mapping| named(client, mapping));
    Ok((is_set, columns.collect::<Result<_>>()?))
}

/// A type as Postgres names it.
fn named(client: &mut Client, mapping: &SqlMapping) -> Result<String> {
    let sql = match mapping {
        SqlMapping::As(sql) => sql.clone(),
        SqlMapping::Array(SqlArrayMapping::As(sql)) => format!("{sql}[]"),
        other => bail!("{other:?} has no name"),
    };
    let row = client.query_one("select format_type(to_regtype($1), null)", &[&sql])?;
    let name: Option<String> = row.try_get(0)?;
    name.filter(|name| name != "-")
        .with_context(|| format!("there is no type {sql}"))
}
