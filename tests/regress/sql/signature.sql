-- HMAC-SHA1, and how strictly a signature is read.

\set SHOW_CONTEXT never

-- RFC 2202, section 3: all seven cases.
create temp table rfc2202 (n, key, body, tag) as values
  (1, '\x0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b'::bytea, 'Hi There'::bytea,
    '\xb617318655057264e28bc0b6fb378c8ef146be00'::bytea),
  (2, 'Jefe', 'what do ya want for nothing?', '\xeffcdf6ae5eb2fa2d27416d5f184df9c259a7c79'),
  (3, decode(repeat('aa', 20), 'hex'), decode(repeat('dd', 50), 'hex'), '\x125d7342b9ac11cd91a39af48aa17b4f63f175d3'),
  (4, '\x0102030405060708090a0b0c0d0e0f10111213141516171819', decode(repeat('cd', 50), 'hex'),
    '\x4c9007f4026250c6bc8414f9bf50c86c2d7235da'),
  (5, decode(repeat('0c', 20), 'hex'), 'Test With Truncation', '\x4c1a03424b55e07fe7f27be1d58bb9324a9a5a04'),
  (6, decode(repeat('aa', 80), 'hex'), 'Test Using Larger Than Block-Size Key - Hash Key First',
    '\xaa4ae5e15272d00e95705637ce8a3b55ed402112'),
  (7, decode(repeat('aa', 80), 'hex'), 'Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data',
    '\xe8e99d0f45237d786d6bbaa7965c7808bbff1a91');

select n, tidings.hmac_sha1(body, key), tidings.hmac_sha1(body, key) = tag as right from rfc2202 order by n;

-- A signature is read as hex of either case, or as base64, standard or URL-safe, padded
-- or not; each may stand after "sha1=".
create temp table form as
select n, key, body, tag, form, prefix || text as signature
from rfc2202,
  (values (''), ('sha1=')) p (prefix),
  lateral (values
    ('hex', encode(tag, 'hex')),
    ('HEX', upper(encode(tag, 'hex'))),
    ('base64', encode(tag, 'base64')),
    ('base64, not padded', rtrim(encode(tag, 'base64'), '=')),
    ('URL-safe', translate(encode(tag, 'base64'), '+/', '-_')),
    ('URL-safe, not padded', rtrim(translate(encode(tag, 'base64'), '+/', '-_'), '='))) f (form, text);
select form, count(*), bool_and(tidings.verify_hmac_sha1(body, key, signature)) as accepted
from form group by form order by form collate "C";

-- None of them is right for another body, another key, or with one bit changed.
select count(*), bool_or(tidings.verify_hmac_sha1(other.body, other.key, form.signature)) as accepted
from form join rfc2202 other on other.n <> form.n;
select count(*), bool_or(tidings.verify_hmac_sha1(body, key, encode(set_bit(tag, bit, 1 - get_bit(tag, bit)), 'hex'))) as accepted
from rfc2202, generate_series(0, 159) bit;
select count(*), bool_or(tidings.verify_hmac_sha1(set_bit(body, bit, 1 - get_bit(body, bit)), key, encode(tag, 'hex'))) as accepted
from rfc2202, generate_series(0, 63) bit;

-- Truncated and malformed ones are false, not errors.
\set body '''{"kind":"subscriber:subscribe","projectId":"5d411352784425000bd02a15","customId":"c1","ppgId":"p1"}'''
\set key '''5d411352784425000bd02a15'''
select what, tidings.verify_hmac_sha1(:body, :key, signature) as accepted
from (values
  (1, 'right', '76f0823ba5b77649859f8d91fe352b24750dff62'),
  (2, 'right', 'dvCCO6W3dkmFn42R/jUrJHUN/2I='),
  (3, 'right', 'dvCCO6W3dkmFn42R_jUrJHUN_2I'),
  (4, 'empty', ''),
  (5, 'only the prefix', 'sha1='),
  (6, 'the first 96 bits', '76f0823ba5b77649859f8d91'),
  (7, 'a digit less', '76f0823ba5b77649859f8d91fe352b24750dff6'),
  (8, 'a digit more', '76f0823ba5b77649859f8d91fe352b24750dff620'),
  (9, 'a byte more', '76f0823ba5b77649859f8d91fe352b24750dff6200'),
  (10, 'not hex', 'g6f0823ba5b77649859f8d91fe352b24750dff62'),
  (11, 'space before', ' 76f0823ba5b77649859f8d91fe352b24750dff62'),
  (12, 'space after', '76f0823ba5b77649859f8d91fe352b24750dff62 '),
  (13, 'newline after', E'dvCCO6W3dkmFn42R/jUrJHUN/2I=\n'),
  (14, 'another prefix', 'sha256=76f0823ba5b77649859f8d91fe352b24750dff62'),
  (15, 'the prefix twice', 'sha1=sha1=76f0823ba5b77649859f8d91fe352b24750dff62'),
  (16, 'the prefix in upper case', 'SHA1=76f0823ba5b77649859f8d91fe352b24750dff62'),
  (17, 'two signatures', '76f0823ba5b77649859f8d91fe352b24750dff62,76f0823ba5b77649859f8d91fe352b24750dff62'),
  (18, 'both alphabets', 'dvCCO6W3dkmFn42R_jUrJHUN/2I='),
  (19, 'too much padding', 'dvCCO6W3dkmFn42R/jUrJHUN/2I=='),
  (20, 'base64 that is not canonical', 'dvCCO6W3dkmFn42R/jUrJHUN/2J='),
  (21, 'base64 of hex', 'NzZmMDgyM2JhNWI3NzY0OTg1OWY4ZDkxZmUzNTJiMjQ3NTBkZmY2Mg=='),
  (22, 'not ASCII', '７6f0823ba5b77649859f8d91fe352b24750dff62'),
  (23, 'very long', repeat('7', 1000000))
) s (n, what, signature)
order by n;

-- An empty key signs nothing, though HMAC could.
select tidings.hmac_sha1('body', '') as tag,
  tidings.verify_hmac_sha1('body', '', encode(tidings.hmac_sha1('body', ''), 'hex')) as accepted;

-- Bytes are bytes: no text, no encoding.
select tidings.hmac_sha1('\x00ff00', '\x00') = tidings.hmac_sha1('\x00ff', '\x00') as same;

-- Null in, null out.
select tidings.hmac_sha1(null, '') is null and tidings.hmac_sha1('', null) is null
  and tidings.verify_hmac_sha1('', '', null) is null as null;
