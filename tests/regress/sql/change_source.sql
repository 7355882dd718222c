-- Sources that are changed: options, names and secrets of each kind, and sources that are dropped
-- and added again. No event is stored twice because of it.

\set SHOW_CONTEXT never
select tidings.add_source('cs-sms', 'arpoone', 'sms-t0ken', '{"timezone": "Europe/Lisbon"}') as sms \gset
select tidings.add_source('cs-push', 'pushpushgo', 'project', '{"url_token": "push-t0ken"}') as push \gset
\set state '[{"MessageId": "m", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}]'
-- Neither of these events has an id of its own: the name of the source is a part of its identity.
\set update '{"kind": "subscriber:update", "projectId": "project", "customId": "c1", "ppgId": "p1"}'
select jsonb_build_object('x-ppg-signature', encode(tidings.hmac_sha1(:'update', 'project'), 'hex'),
  'receipt-id', '01J95V8YR80000000000000000', 'url-token', 'push-t0ken') as signed \gset
select verdict, inserted, duplicate from tidings.ingest('cs-sms', :'state', '{"url-token": "sms-t0ken"}');
select verdict, inserted, duplicate from tidings.ingest('cs-push', :'update', :'signed');

-- Options: those that are named change, and null removes one.
select tidings.set_source_options('cs-sms', '{"allow_from": ["10.0.0.0/8"]}');
select tidings.set_source_options('cs-sms', '{"timezone": "UTC", "allow_from": null}');
select name, options from tidings.source where name like 'cs-%' order by id;
-- The token goes where the secrets are, and replaces the former one.
select tidings.set_source_options('cs-push', '{"url_token": "n3w"}');
select s.name, s.options, x.kind, x.value, x.expires_at from tidings.source s join tidings.source_secret x on x.source_id = s.id where s.name like 'cs-%' order by s.id, x.kind, x.value;
select tidings.set_source_options('cs-push', '{"url_token": null}');
select s.name, x.kind, x.value from tidings.source s join tidings.source_secret x on x.source_id = s.id where s.name like 'cs-%' order by s.id, x.kind, x.value;
select tidings.set_source_options('cs-push', '{}');
-- What its provider does not take, and what cannot work, is refused, and nothing changes.
select tidings.set_source_options('cs-sms', '{"timezone": "Lisbon"}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.set_source_options('cs-sms', '{"tiemzone": "UTC"}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.set_source_options('cs-sms', '["timezone"]');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.set_source_options('cs-sms', null);
select tidings.set_source_options('cs-sms', '{"url_token": 7}');
select tidings.set_source_options('cs-sms', '{"url_token": "a/b", "timezone": "Europe/Lisbon"}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.set_source_options('nope', '{}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select name, options from tidings.source where name like 'cs-%' order by id;

-- Each kind of secret is rotated with an overlap.
select tidings.rotate_secret('cs-push', 'first', kind => 'url_token');
select tidings.rotate_secret('cs-push', 'second', '1 hour', 'url_token');
select kind, value, expires_at is null as is_current from tidings.source_secret where source_id = :push order by kind, value;
select tidings.rotate_secret('cs-push', 'cs-x', kind => 'header');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.rotate_secret('cs-push', 'cs-x', kind => null);

-- Secrets that no request could carry.
select tidings.add_source('cs-x', 'pushwoosh', E'Bearer s3cret\n');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('cs-x', 'pushwoosh', ' Bearer s3cret');
select tidings.add_source('cs-x', 'pushwoosh', E'Bearer\ts3cret\x01');
select tidings.add_source('cs-x', 'arpoone', 'a/b');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('cs-x', 'arpoone', '..');
select tidings.add_source('cs-x', 'pushpushgo', 'a/b', '{"url_token": "."}');
select tidings.rotate_secret('cs-sms', 'a/b');
select tidings.rotate_secret('cs-push', 'a/b', kind => 'url_token');
select tidings.rotate_secret('cs-push', E'key\n');
select tidings.add_source('cs-x', 'pushpushgo', 'a/b', '{"url_token": "é +%"}') is not null as added;

-- The paths as they are entered at the provider.
select name, tidings.webhook_paths(name) from tidings.source where name like 'cs-%' order by id, 2;
select tidings.webhook_paths('nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.drop_source('cs-x');

-- Renamed: the same source, to which requests under its former name still belong.
select tidings.rename_source('cs-sms', 'cs-texts');
select name, id = :sms as same, first_name from tidings.source where id = :sms;
select verdict, inserted, duplicate from tidings.ingest('cs-texts', :'state', '{"url-token": "sms-t0ken"}');
select verdict, inserted, duplicate from tidings.ingest('cs-sms', :'state', '{"url-token": "sms-t0ken"}');
select verdict, inserted from tidings.ingest('cs-sms', :'state', '{"url-token": "x"}');
select tidings.verify('cs-sms', '', '{"url-token": "sms-t0ken"}');
select tidings.report_gap('cs-sms', 'provider_gave_up', detail => 'lost') is not null as reported;
select tidings.report_refusal('cs-sms', now(), 'answered 413 (too_large)', '{}', '', 100);
select verdict from tidings.rejected where source_id = :sms order by verdict;
-- Whoever changes a source names it as it is now.
select tidings.drop_source('cs-sms');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.set_source_options('cs-sms', '{}');
select tidings.rename_source('cs-push', 'cs-pushes');
select verdict, inserted, duplicate from tidings.ingest('cs-push', :'update', :'signed'::jsonb || '{"url-token": "second"}');
select verdict, inserted, duplicate from tidings.ingest('cs-pushes', :'update', :'signed'::jsonb || '{"url-token": "second"}');
select tidings.rename_source('cs-pushes', 'cs-web');
select name from tidings.former_name where name like 'cs-%' order by name;
select tidings.rename_source('cs-web', 'cs-push');
select name from tidings.former_name where name like 'cs-%' order by name;
-- A name that another source has, and what is no name.
select tidings.rename_source('cs-push', 'cs-texts');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.rename_source('cs-push', 'a/b');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.rename_source('cs-push', null);
select tidings.rename_source('nope', 'cs-x');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
-- A new source that takes the former name takes the requests under it too.
select tidings.add_source('cs-sms', 'arpoone', 'other') <> :sms as another;
select verdict from tidings.ingest('cs-sms', :'state', '{"url-token": "sms-t0ken"}');
select verdict, inserted from tidings.ingest('cs-sms', :'state', '{"url-token": "other"}');
select tidings.drop_source('cs-sms');

-- Dropped and added again: the id goes on, and a retry is a duplicate.
select tidings.drop_source('cs-texts');
select verdict from tidings.ingest('cs-texts', :'state', '{"url-token": "sms-t0ken"}');
select tidings.add_source('cs-texts', 'arpoone', 'again') = :sms as same;
select first_name from tidings.source where id = :sms;
select verdict, inserted, duplicate from tidings.ingest('cs-texts', :'state', '{"url-token": "again"}');
-- Its former names are gone, and another provider under its name is another source.
select verdict from tidings.ingest('cs-sms', :'state', '{"url-token": "again"}');
select tidings.drop_source('cs-texts');
select tidings.add_source('cs-texts', 'pushwoosh', 'Bearer x') <> :sms as another;
select tidings.drop_source('cs-texts');
select tidings.add_source('cs-texts', 'arpoone', 'again') = :sms as same;

-- By hand: what a function would refuse is refused too, and what it allows is done.
update tidings.source set options = '{"timezone": "Lisbon"}' where name = 'cs-texts';
\echo SQLSTATE :LAST_ERROR_SQLSTATE
update tidings.source set options = '{"url_token": "x"}' where name = 'cs-texts';
\echo SQLSTATE :LAST_ERROR_SQLSTATE
update tidings.source set options = '{"timezone": "Europe/Madrid"}' where name = 'cs-texts';
update tidings.source set name = 'a b' where name = 'cs-texts';
\echo SQLSTATE :LAST_ERROR_SQLSTATE
update tidings.source set name = 'cs-sms' where name = 'cs-texts';
select name, first_name, options from tidings.source where id = :sms;
select verdict, duplicate from tidings.ingest('cs-texts', :'state', '{"url-token": "again"}');
update tidings.source set id = 1000 where name = 'cs-sms';
\echo SQLSTATE :LAST_ERROR_SQLSTATE
update tidings.source set provider = 'pushwoosh' where name = 'cs-sms';
update tidings.source set first_name = 'x' where name = 'cs-sms';
-- What a subscription applies was checked elsewhere.
begin;
set session_replication_role = replica;
update tidings.source set name = 'cs-copy', options = '{"nope": 1}' where name = 'cs-sms';
select name, first_name, options, (select count(*) from tidings.former_name f where f.name = 'cs-sms') as former from tidings.source where id = :sms;
insert into tidings.source (name, provider) values ('cs-new', 'arpoone') returning first_name;
rollback;
-- Data of an earlier version may be restored without triggers.
begin;
alter table tidings.source disable trigger all;
update tidings.source set first_name = null where name = 'cs-sms';
alter table tidings.source enable trigger all;
select tidings.rename_source('cs-sms', 'cs-again');
select first_name from tidings.source where id = :sms;
rollback;

-- Retention that could never work.
update tidings.retention set keep_events = '100000 years';
\echo SQLSTATE :LAST_ERROR_SQLSTATE
update tidings.retention set keep_rejected = '1001 years';
begin;
update tidings.retention set keep_events = '1000 years', keep_rejected = '1000 years';
select count(*) > 0 as made from tidings.maintain();
rollback;

select tidings.drop_source(name) from tidings.source where name like 'cs-%' order by id;
delete from tidings.gap;
