//! What the system catalogs say of an installation, as texts that two installations can
//! be compared by: no oid, no order of creation.

use anyhow::{Context as _, Result};
use postgres::GenericClient;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What each object is like, by what is told of which object.
pub(super) type Catalog = BTreeMap<String, String>;

/// In a database with nothing but the extension: then every object that no server has by
/// itself is the extension's.
pub(super) fn read(client: &mut impl GenericClient) -> Result<Catalog> {
    let mut catalog = Catalog::new();
    for (what, sql) in QUERIES {
        let rows = client
            .query(sql, &[])
            .with_context(|| format!("cannot read {what}"))?;
        let mut told = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<Vec<(String, Option<String>)>>>()?;
        told.sort();
        for (object, is) in told {
            let all = catalog.entry(format!("{what}: {object}")).or_default();
            let _ = writeln!(all, "{}", is.as_deref().unwrap_or("null"));
        }
    }
    Ok(catalog)
}

/// Empty where both are the same; otherwise what the second lacks and has too much.
pub(super) fn difference(expected: &Catalog, found: &Catalog) -> String {
    let mut text = String::new();
    let objects: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for object in objects {
        let (expected, found) = (expected.get(object), found.get(object));
        if expected == found {
            continue;
        }
        let of = |is: Option<&String>| is.cloned().unwrap_or_default();
        let mut lines = lines_of_difference(&of(expected), &of(found));
        if lines.is_empty() {
            // The same lines in another order.
            lines = format!("- {}+ {}", of(expected), of(found));
        }
        let _ = write!(text, "{object}\n{lines}");
    }
    text
}

/// The lines that stand in only one of two texts, whatever their order.
pub(super) fn lines_of_difference(expected: &str, found: &str) -> String {
    let count = |text: &str| {
        let mut lines = BTreeMap::new();
        for line in text.lines() {
            *lines.entry(line.to_owned()).or_insert(0) += 1;
        }
        lines
    };
    let (expected, found) = (count(expected), count(found));
    let mut text = String::new();
    let lines: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for line in lines {
        let times = |lines: &BTreeMap<String, i32>| lines.get(line).copied().unwrap_or(0);
        let sign = match times(&found) - times(&expected) {
            0 => continue,
            too_much if too_much > 0 => '+',
            _ => '-',
        };
        let _ = writeln!(text, "  {sign} {line}");
    }
    text
}

/// The first oid of objects that do not come with the server is 16384. Privileges are
/// sorted, because their order is that of granting; where there are none, those of the
/// default are meant. Some builds of the server stamp each column with `pg_attver`, its
/// own for every creation: that is no property of ours.
const QUERIES: [(&str, &str); 20] = [
    (
        "extension",
        "select extname, format('%s, relocatable %s, in %s of %s', extversion, extrelocatable, extnamespace::regnamespace, extowner::regrole)
         from pg_extension where oid >= 16384",
    ),
    (
        "data that a dump carries",
        "select c.oid::regclass::text, c.condition
         from pg_extension e cross join unnest(e.extconfig, e.extcondition) c (oid, condition) where e.oid >= 16384",
    ),
    (
        "object of the extension",
        "select pg_describe_object(classid, objid, objsubid), deptype::text
         from pg_depend where refclassid = 'pg_extension'::regclass",
    ),
    (
        "dependencies",
        "select pg_describe_object(classid, objid, objsubid), deptype::text || ' ' || pg_describe_object(refclassid, refobjid, refobjsubid)
         from pg_depend where objid >= 16384 and pg_describe_object(classid, objid, objsubid) !~ ' pg_toast\\.'",
    ),
    (
        "comment",
        "select pg_describe_object(classoid, objoid, objsubid), description from pg_description where objoid >= 16384",
    ),
    (
        "initial privileges",
        "select pg_describe_object(classoid, objoid, objsubid), (select string_agg(a::text, ', ' order by a::text collate \"C\") from unnest(initprivs) a)
         from pg_init_privs where objoid >= 16384",
    ),
    (
        "schema",
        "select nspname, format('of %s, %s', nspowner::regrole,
           (select string_agg(a::text, ', ' order by a::text collate \"C\") from unnest(coalesce(nspacl, acldefault('n', nspowner))) a))
         from pg_namespace where oid >= 16384",
    ),
    (
        "function",
        "select p.oid::regprocedure::text, format(E'of %s, %s, rows %s, cost %s, support %s\\n%s', proowner::regrole,
           (select string_agg(a::text, ', ' order by a::text collate \"C\") from unnest(coalesce(proacl, acldefault('f', proowner))) a),
           prorows, procost, prosupport, case when prokind <> 'a' then pg_get_functiondef(p.oid) end)
         from pg_proc p where p.oid >= 16384",
    ),
    (
        "aggregate",
        "select aggfnoid::regprocedure::text, (to_jsonb(a) - '{aggfnoid,aggtranstype,aggsortop}'::text[])::text
           || format_type(aggtranstype, null) || aggsortop::regoper
         from pg_aggregate a where aggfnoid::oid >= 16384",
    ),
    (
        "relation",
        "select pg_describe_object('pg_class'::regclass, c.oid, 0), format('kind %s, of %s, %s, %s, persistence %s, am %s, options %s, rules %s, row security %s %s, replica identity %s, partition %s %s, key %s',
           relkind, relowner::regrole,
           (select string_agg(a::text, ', ' order by a::text collate \"C\") from unnest(coalesce(relacl, acldefault('r', relowner))) a),
           case when relacl is null then 'by default' else 'granted' end,
           relpersistence, (select amname from pg_am where oid = relam), reloptions, relhasrules, relrowsecurity, relforcerowsecurity, relreplident,
           relispartition, pg_get_expr(relpartbound, c.oid), case when relkind = 'p' then pg_get_partkeydef(c.oid) end)
         from pg_class c where c.oid >= 16384 and relnamespace <> 'pg_toast'::regnamespace",
    ),
    (
        "columns",
        "select pg_describe_object('pg_class'::regclass, c.oid, 0), format('%s. %s %s, not null %s, default %s, generated %s, identity %s, collation %s, storage %s, compression %s, statistics %s, options %s, privileges %s',
           row_number() over (partition by c.oid order by attnum), attname, format_type(atttypid, atttypmod), attnotnull,
           pg_get_expr(d.adbin, d.adrelid), attgenerated, attidentity, (select collname from pg_collation l where l.oid = attcollation),
           attstorage, attcompression, attstattarget, (select string_agg(o, ', ' order by o) from unnest(attoptions) o where o !~ '^pg_attver='), attacl)
         from pg_class c
         join pg_attribute a on a.attrelid = c.oid and attnum > 0 and not attisdropped
         left join pg_attrdef d on d.adrelid = c.oid and d.adnum = attnum
         where c.oid >= 16384 and relnamespace <> 'pg_toast'::regnamespace",
    ),
    (
        "constraint",
        "select pg_describe_object('pg_constraint'::regclass, oid, 0), format('%s, deferrable %s %s, valid %s', pg_get_constraintdef(oid), condeferrable, condeferred, convalidated)
         from pg_constraint where oid >= 16384",
    ),
    (
        "index",
        "select indexrelid::regclass::text, format('%s, primary %s, valid %s, clustered %s, replica identity %s', pg_get_indexdef(indexrelid), indisprimary, indisvalid, indisclustered, indisreplident)
         from pg_index i join pg_class c on c.oid = indexrelid
         where indexrelid >= 16384 and relnamespace <> 'pg_toast'::regnamespace",
    ),
    (
        "rule",
        "select pg_describe_object('pg_rewrite'::regclass, oid, 0), pg_get_ruledef(oid) from pg_rewrite where oid >= 16384",
    ),
    (
        "trigger",
        "select pg_describe_object('pg_trigger'::regclass, oid, 0), pg_get_triggerdef(oid) || ' ' || tgenabled::text from pg_trigger where oid >= 16384",
    ),
    (
        "sequence",
        "select seqrelid::regclass::text, ((to_jsonb(s) - '{seqrelid,seqtypid}'::text[]) || jsonb_build_object('type', format_type(seqtypid, null)))::text
         from pg_sequence s",
    ),
    (
        "type",
        "select format_type(t.oid, null), format('of %s, %s, kind %s %s %s, length %s, by value %s, align %s, storage %s, delimiter %s, element %s, base %s, not null %s, default %s, functions %s',
           typowner::regrole,
           (select string_agg(a::text, ', ' order by a::text collate \"C\") from unnest(coalesce(typacl, acldefault('T', typowner))) a),
           typtype, typcategory, typispreferred, typlen, typbyval, typalign, typstorage, typdelim, format_type(typelem, null), format_type(typbasetype, null),
           typnotnull, typdefault, array[typinput, typoutput, typreceive, typsend, typmodin, typmodout, typanalyze, typsubscript])
         from pg_type t where t.oid >= 16384 and typnamespace <> 'pg_toast'::regnamespace",
    ),
    (
        "operator",
        "select o.oid::regoperator::text, format('of %s, %s, hashes %s, merges %s, commutator %s, negator %s, restrict %s, join %s',
           oprowner::regrole, oprcode, oprcanhash, oprcanmerge, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin)
         from pg_operator o where o.oid >= 16384",
    ),
    (
        "operator class",
        "select pg_describe_object('pg_opclass'::regclass, oid, 0), format('default %s, keys %s', opcdefault, format_type(opckeytype, null))
         from pg_opclass where oid >= 16384
         union all
         select pg_describe_object('pg_amop'::regclass, oid, 0), amoppurpose::text from pg_amop where oid >= 16384
         union all
         select pg_describe_object('pg_amproc'::regclass, oid, 0), null from pg_amproc where oid >= 16384",
    ),
    (
        "cast",
        "select pg_describe_object('pg_cast'::regclass, oid, 0), format('%s %s %s', castfunc::regprocedure, castcontext, castmethod)
         from pg_cast where oid >= 16384",
    ),
];
