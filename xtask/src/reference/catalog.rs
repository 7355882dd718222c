//! What the extension's objects are, as the database's catalog describes them.

use anyhow::{Context as _, Result};
use postgres::{Client, Row};

/// Every public object. Functions are sorted by name, and those of one name by arguments.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) functions: Vec<Function>,
    pub(super) relations: Vec<Relation>,
    /// The ULID's casts, operators and aggregates.
    pub(super) ulid: Vec<Line>,
    pub(super) settings: Vec<Setting>,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// Each as SQL: its name, its type and its default.
    pub(super) arguments: Vec<String>,
    /// The result type as SQL; a list of columns has a line for each column.
    pub(super) returns: Returns,
    pub(super) comment: String,
}

#[derive(Debug)]
pub(super) enum Returns {
    Type(String),
    /// Rows of these columns, or one such row.
    Columns {
        set: bool,
        columns: Vec<String>,
    },
}

/// A table, a view or a composite type.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) comment: String,
    pub(super) columns: Vec<Column>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of_type: String,
    pub(super) default: Option<String>,
    pub(super) comment: String,
}

/// An object that is told in one line, and which of the tables it stands in.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) object: String,
    pub(super) comment: String,
}

#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) default: String,
    pub(super) comment: String,
}

/// The search_path with which a type of the extension is shown without its schema.
const PREPARE: &str = "set search_path = pg_catalog, tidings; load 'tidings'";

/// A name that begins with an underscore, and a comment that begins with "Internal:",
/// mark what is not for users.
const FUNCTIONS: &str = "
select p.proname, p.proretset, format_type(p.prorettype, null) as returns,
       coalesce(obj_description(p.oid, 'pg_proc'), '') as comment,
       coalesce(array_agg(a.mode order by a.place) filter (where a.place is not null), '{}') as modes,
       coalesce(array_agg(a.name order by a.place) filter (where a.place is not null), '{}') as names,
       coalesce(array_agg(a.type order by a.place) filter (where a.place is not null), '{}') as types,
       coalesce(array_agg(a.by_default order by a.place) filter (where a.place is not null), '{}') as defaults
from pg_proc p
join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
join pg_extension x on x.oid = d.refobjid and x.extname = 'tidings'
left join lateral (
  select u.place, coalesce(p.proargmodes[u.place]::text, 'i') as mode,
         coalesce(p.proargnames[u.place], '') as name, format_type(u.type, null) as type,
         coalesce(pg_get_function_arg_default(p.oid, u.place::int), '') as by_default
  from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality u(type, place)
) a on true
where p.pronamespace = 'tidings'::regnamespace and p.prokind = 'f' and p.proname !~ '^_'
  and coalesce(obj_description(p.oid, 'pg_proc'), '') !~ '^Internal:'
group by p.oid
order by p.proname collate \"C\", types";

const RELATIONS: &str = "
select c.relname,
       case when c.relkind = 'v' then 'View' when c.relkind = 'c' then 'Type' else 'Table' end as what,
       coalesce(case when c.relkind = 'c' then obj_description(c.reltype, 'pg_type')
                     else obj_description(c.oid, 'pg_class') end, '') as comment,
       array_agg(a.attname::text order by a.attnum) as names,
       array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum) as types,
       array_agg(case when a.attgenerated = ''
                 then coalesce(pg_get_expr(v.adbin, v.adrelid), '') else '' end order by a.attnum) as defaults,
       array_agg(coalesce(col_description(c.oid, a.attnum), '') order by a.attnum) as comments
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef v on v.adrelid = c.oid and v.adnum = a.attnum
where c.relnamespace = 'tidings'::regnamespace and c.relkind in ('r', 'p', 'v', 'c')
  and not c.relispartition and c.relname !~ '^_'
group by c.oid
order by c.relname collate \"C\"";

/// In the order of what, and then of the object.
const ULID: &str = "
select what, object, comment from (
  select 1 as place, 'Type' as what, t.oid::regtype::text as object, obj_description(t.oid, 'pg_type') as comment
  from pg_type t where t.oid = 'tidings.ulid'::regtype
  union all
  select 2, 'Cast', format('%s as %s', format_type(castsource, null), format_type(casttarget, null)),
         obj_description(oid, 'pg_cast')
  from pg_cast where 'tidings.ulid'::regtype in (castsource, casttarget)
  union all
  select 3, 'Operator', oprname, obj_description(oid, 'pg_operator')
  from pg_operator where oprleft = 'tidings.ulid'::regtype and oprright = 'tidings.ulid'::regtype
  union all
  select 4, 'Aggregate', format('%s(ulid)', proname), obj_description(oid, 'pg_proc')
  from pg_proc where prokind = 'a' and proargtypes = array['tidings.ulid'::regtype::oid]::oidvector
  union all
  select 5, 'Index', format('%s (%s)', o.opcname, m.amname), obj_description(o.oid, 'pg_opclass')
  from pg_opclass o join pg_am m on m.oid = o.opcmethod where o.opcintype = 'tidings.ulid'::regtype
) o
order by place, object collate \"C\"";

const SETTINGS: &str = "
select name, boot_val, concat_ws(' ', rtrim(short_desc, '.') || '.', extra_desc) as comment
from pg_settings where name like 'tidings.%' order by name collate \"C\"";

impl Catalog {
    pub(super) fn read(client: &mut Client) -> Result<Self> {
        client.batch_execute(PREPARE)?;
        let mut read = Self::default();
        for row in client.query(FUNCTIONS, &[])? {
            read.functions.push(function(&row)?);
        }
        for row in client.query(RELATIONS, &[])? {
            read.relations.push(relation(&row)?);
        }
        for row in client.query(ULID, &[])? {
            read.ulid.push(Line {
                what: row.try_get("what")?,
                object: row
                    .try_get::<_, String>("object")?
                    .replace("timestamp with time zone", "timestamptz"),
                comment: row
                    .try_get::<_, Option<String>>("comment")?
                    .unwrap_or_default(),
            });
        }
        for row in client.query(SETTINGS, &[])? {
            read.settings.push(Setting {
                name: row.try_get("name")?,
                default: row.try_get("boot_val")?,
                comment: row.try_get("comment")?,
            });
        }
        Ok(read)
    }
}

fn function(row: &Row) -> Result<Function> {
    let texts = |column| -> Result<Vec<String>> { Ok(row.try_get(column)?) };
    let (modes, names, types, defaults) = (
        texts("modes")?,
        texts("names")?,
        texts("types")?,
        texts("defaults")?,
    );
    let (mut arguments, mut columns) = (Vec::new(), Vec::new());
    for (((mode, name), of_type), default) in modes.iter().zip(&names).zip(&types).zip(&defaults) {
        let declared = format!("{name} {}", short(of_type)).trim().to_owned();
        match mode.as_str() {
            "i" if default.is_empty() => arguments.push(declared),
            "i" => arguments.push(format!("{declared} default {}", literal(default))),
            "v" => arguments.push(format!("variadic {declared}")),
            _ => columns.push(declared),
        }
    }
    let set: bool = row.try_get("proretset")?;
    let returned: String = row.try_get("returns")?;
    Ok(Function {
        name: row.try_get("proname")?,
        arguments,
        returns: match columns.is_empty() {
            true if set => Returns::Type(format!("setof {}", short(&returned))),
            true => Returns::Type(short(&returned).to_owned()),
            false => Returns::Columns { set, columns },
        },
        comment: row.try_get("comment")?,
    })
}

fn relation(row: &Row) -> Result<Relation> {
    let name: String = row.try_get("relname")?;
    let texts = |column| -> Result<Vec<String>> {
        row.try_get(column)
            .with_context(|| format!("the {column} of {name}"))
    };
    let columns = texts("names")?
        .into_iter()
        .zip(texts("types")?)
        .zip(texts("defaults")?);
    let columns = columns
        .zip(texts("comments")?)
        .map(|(((name, of_type), default), comment)| Column {
            name,
            of_type: short(&of_type).to_owned(),
            default: is_shown(&default).then(|| literal(&default)),
            comment,
        });
    Ok(Relation {
        columns: columns.collect(),
        what: row.try_get("what")?,
        comment: row.try_get("comment")?,
        name,
    })
}

/// The name of a type that people use.
fn short(of_type: &str) -> &str {
    match of_type {
        "timestamp with time zone" => "timestamptz",
        other => other,
    }
}

/// Whether a default tells more than that there is one.
fn is_shown(default: &str) -> bool {
    !default.is_empty() && !default.starts_with("nextval(")
}

/// A default without the cast that its declaration implies.
fn literal(default: &str) -> String {
    match default.rsplit_once("::") {
        Some(("NULL", _)) => "null".to_owned(),
        Some((value, of_type)) if !of_type.contains([')', '\'']) => value.to_owned(),
        _ => default.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_default_is_shown_without_its_type() {
        assert_eq!(literal("NULL::text[]"), "null");
        assert_eq!(literal("'{}'::jsonb"), "'{}'");
        assert_eq!(literal("1000"), "1000");
        assert_eq!(literal("nextval('a'::regclass)"), "nextval('a'::regclass)");
    }
}
