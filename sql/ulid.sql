-- tidings.ulid has the 16 bytes of uuid, and is compared, hashed, sorted and sent as uuid
-- is; only the text form is our own. The functions that compare and send are C functions of
-- the library rather than the server's own, because the server would search its table of
-- built-in functions for those by name at each start of an executor.

create type ulid;

create function ulid_in(text cstring) returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_in_wrapper';
comment on function ulid_in(cstring) is 'Internal: reads the text form. SQLSTATE 22P02 for anything but 26 characters of Crockford''s base32 up to 7ZZZZZZZZZZZZZZZZZZZZZZZZZ.';
create function ulid_out(value ulid) returns cstring
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_out';
comment on function ulid_out(ulid) is 'Internal: writes the text form.';
create function ulid_recv(internal) returns ulid
  language internal immutable strict parallel safe as 'uuid_recv';
create function ulid_send(ulid) returns bytea
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_send';

create type ulid (
  input = ulid_in,
  output = ulid_out,
  receive = ulid_recv,
  send = ulid_send,
  like = uuid
);
comment on type ulid is
  'A ULID (github.com/ulid/spec): 48 bits of milliseconds since 1970 and 80 random bits, in 16 bytes. The text form is 26 characters of Crockford''s base32; input is strict and accepts either case, output is in upper case.';

-- operators

create function ulid_eq(ulid, ulid) returns boolean
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_eq';
create function ulid_ne(ulid, ulid) returns boolean
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_ne';
create function ulid_lt(ulid, ulid) returns boolean
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_lt';
create function ulid_le(ulid, ulid) returns boolean
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_le';
create function ulid_ge(ulid, ulid) returns boolean
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_ge';
create function ulid_gt(ulid, ulid) returns boolean
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_gt';
create function ulid_cmp(ulid, ulid) returns integer
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_cmp';
create function ulid_hash(ulid) returns integer
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_hash';
create function ulid_hash_extended(ulid, bigint) returns bigint
  language c immutable strict parallel safe leakproof as 'MODULE_PATHNAME', 'ulid_hash_extended';
create function ulid_sortsupport(internal) returns void
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_sortsupport';

-- The operators are in pg_catalog, as are min and max. They are therefore found whatever
-- the search_path is, so that "where id > '01..'" works for every role, and nothing can
-- shadow them.

create operator pg_catalog.= (
  leftarg = ulid, rightarg = ulid, function = ulid_eq,
  commutator = operator(pg_catalog.=), negator = operator(pg_catalog.<>), restrict = eqsel, join = eqjoinsel, hashes, merges
);
create operator pg_catalog.<> (
  leftarg = ulid, rightarg = ulid, function = ulid_ne,
  commutator = operator(pg_catalog.<>), negator = operator(pg_catalog.=), restrict = neqsel, join = neqjoinsel
);
create operator pg_catalog.< (
  leftarg = ulid, rightarg = ulid, function = ulid_lt,
  commutator = operator(pg_catalog.>), negator = operator(pg_catalog.>=), restrict = scalarltsel, join = scalarltjoinsel
);
create operator pg_catalog.<= (
  leftarg = ulid, rightarg = ulid, function = ulid_le,
  commutator = operator(pg_catalog.>=), negator = operator(pg_catalog.>), restrict = scalarlesel, join = scalarlejoinsel
);
create operator pg_catalog.>= (
  leftarg = ulid, rightarg = ulid, function = ulid_ge,
  commutator = operator(pg_catalog.<=), negator = operator(pg_catalog.<), restrict = scalargesel, join = scalargejoinsel
);
create operator pg_catalog.> (
  leftarg = ulid, rightarg = ulid, function = ulid_gt,
  commutator = operator(pg_catalog.<), negator = operator(pg_catalog.<=), restrict = scalargtsel, join = scalargtjoinsel
);

comment on operator pg_catalog.= (ulid, ulid) is 'equal';
comment on operator pg_catalog.<> (ulid, ulid) is 'not equal';
comment on operator pg_catalog.< (ulid, ulid) is 'less than: earlier, or of the same millisecond with smaller random bits';
comment on operator pg_catalog.<= (ulid, ulid) is 'less than or equal';
comment on operator pg_catalog.>= (ulid, ulid) is 'greater than or equal';
comment on operator pg_catalog.> (ulid, ulid) is 'greater than: later, or of the same millisecond with greater random bits';

-- indexes

create operator class ulid_ops default for type ulid using btree as
  operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >,
  function 1 ulid_cmp(ulid, ulid),
  function 2 ulid_sortsupport(internal),
  function 4 btequalimage(oid);

create operator class ulid_ops default for type ulid using hash as
  operator 1 =,
  function 1 ulid_hash(ulid),
  function 2 ulid_hash_extended(ulid, bigint);

create operator class ulid_minmax_ops default for type ulid using brin as
  operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >,
  function 1 brin_minmax_opcinfo(internal),
  function 2 brin_minmax_add_value(internal, internal, internal, internal),
  function 3 brin_minmax_consistent(internal, internal, internal),
  function 4 brin_minmax_union(internal, internal, internal);

comment on operator family ulid_ops using btree is 'The order of ULIDs, which is their order in time.';
comment on operator class ulid_ops using btree is 'The order of ULIDs, which is their order in time.';
comment on operator family ulid_ops using hash is 'The hashes of ULIDs.';
comment on operator class ulid_ops using hash is 'The hashes of ULIDs.';
comment on operator family ulid_minmax_ops using brin is 'The smallest and the greatest ULID of a range of blocks.';
comment on operator class ulid_minmax_ops using brin is 'The smallest and the greatest ULID of a range of blocks.';

-- the functions that users call

create function gen_ulid() returns ulid
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'gen_ulid_wrapper';
comment on function gen_ulid() is
  'Returns a new ULID of the current millisecond. Within a session each ULID is greater than the one before: within the same millisecond, or if the clock stepped back, it is the one before plus one (github.com/ulid/spec, "Monotonicity"). SQLSTATE 54000 if the 80 random bits of a millisecond overflow.';

create function ulid_at(at timestamptz) returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_at_wrapper';
comment on function ulid_at(timestamptz) is
  'Returns the smallest ULID of the millisecond of this time, for range scans: id >= tidings.ulid_at(''2026-01-01''). SQLSTATE 22008 before 1970 and after the year 10889.';

-- casts: explicit, so that no comparison chooses one, but for those from text. Clients send
-- parameters as text or varchar, and Postgres would find no function and no operator for them.
-- There is none from ulid to text that is implicit, so that a comparison of the two is one of
-- ULIDs, which an index serves.

create function ulid_to_bytea(ulid) returns bytea
  language internal immutable strict parallel safe as 'uuid_send';
create function ulid_from_bytea(bytes bytea) returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_from_bytea_wrapper';
comment on function ulid_from_bytea(bytea) is 'Internal: implementation of the cast from bytea.';
create function ulid_to_timestamptz(value ulid) returns timestamptz
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_to_timestamptz_wrapper';
comment on function ulid_to_timestamptz(ulid) is 'Internal: implementation of the cast to timestamptz.';

create cast (text as ulid) with inout as implicit;
create cast (varchar as ulid) with inout as implicit;
create cast (ulid as uuid) without function;
create cast (uuid as ulid) without function;
create cast (ulid as bytea) with function ulid_to_bytea(ulid);
create cast (bytea as ulid) with function ulid_from_bytea(bytea);
create cast (ulid as timestamptz) with function ulid_to_timestamptz(ulid);
create cast (timestamptz as ulid) with function ulid_at(timestamptz);

comment on cast (text as ulid) is 'The ULID of its text form, as a literal has it; SQLSTATE 22P02 for any other text.';
comment on cast (varchar as ulid) is 'The ULID of its text form, as a literal has it; SQLSTATE 22P02 for any other text.';
comment on cast (ulid as uuid) is 'The same 16 bytes, at no cost.';
comment on cast (uuid as ulid) is 'The same 16 bytes, at no cost.';
comment on cast (ulid as bytea) is 'The 16 bytes, big-endian.';
comment on cast (bytea as ulid) is 'The ULID of 16 bytes, big-endian; SQLSTATE 22P03 for any other length.';
comment on cast (ulid as timestamptz) is 'The millisecond in which the ULID was generated.';
comment on cast (timestamptz as ulid) is 'The smallest ULID of that millisecond, as from ulid_at.';

-- aggregates

create function ulid_smaller(a ulid, b ulid) returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_smaller_wrapper';
comment on function ulid_smaller(ulid, ulid) is 'Internal: the smaller of two, for min.';
create function ulid_larger(a ulid, b ulid) returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ulid_larger_wrapper';
comment on function ulid_larger(ulid, ulid) is 'Internal: the greater of two, for max.';

create aggregate pg_catalog.min(ulid) (
  sfunc = ulid_smaller, stype = ulid, combinefunc = ulid_smaller, sortop = <, parallel = safe
);
create aggregate pg_catalog.max(ulid) (
  sfunc = ulid_larger, stype = ulid, combinefunc = ulid_larger, sortop = >, parallel = safe
);
comment on aggregate pg_catalog.min(ulid) is 'The smallest ULID, or null if there is none.';
comment on aggregate pg_catalog.max(ulid) is 'The greatest ULID, or null if there is none.';

-- the server's own functions

comment on function ulid_recv(internal) is 'Internal: reads the binary form.';
comment on function ulid_send(ulid) is 'Internal: writes the binary form.';
comment on function ulid_eq(ulid, ulid) is 'Internal: implementation of = operator.';
comment on function ulid_ne(ulid, ulid) is 'Internal: implementation of <> operator.';
comment on function ulid_lt(ulid, ulid) is 'Internal: implementation of < operator.';
comment on function ulid_le(ulid, ulid) is 'Internal: implementation of <= operator.';
comment on function ulid_ge(ulid, ulid) is 'Internal: implementation of >= operator.';
comment on function ulid_gt(ulid, ulid) is 'Internal: implementation of > operator.';
comment on function ulid_cmp(ulid, ulid) is 'Internal: three-way comparison, for btree.';
comment on function ulid_hash(ulid) is 'Internal: hash function.';
comment on function ulid_hash_extended(ulid, bigint) is 'Internal: hash function with a seed.';
comment on function ulid_sortsupport(internal) is 'Internal: sort support, for btree.';
comment on function ulid_to_bytea(ulid) is 'Internal: implementation of the cast to bytea.';
