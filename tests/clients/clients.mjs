// What programs for Node.js send for a ulid: as clients.py, with the clients of node.
//
//     node tests/clients/clients.mjs CLIENT URL

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

// The packages are not beside this file: the caller says where they are.
const require = createRequire(`${process.env.TIDINGS_NODE_MODULES}/`)

/** What the queries with the first position as a text have to return. */
function check(positions, after, among) {
  assert.ok(positions.length >= 3)
  assert.deepEqual(after, positions.slice(1))
  assert.deepEqual(among.toSorted(), positions.slice(0, 2))
}

const EVENTS = 'select id from tidings.event order by id'

const clients = {
  async pg(url) {
    const { Client } = require('pg')
    const client = new Client({ connectionString: url })
    await client.connect()
    const ids = async (text, values = []) => (await client.query(text, values)).rows.map((row) => row.id)
    const positions = await ids(EVENTS)
    const first = positions[0]
    await client.query('select tidings.poll($1, $2)', ['client', 1])
    await client.query('select tidings.ack($1, $2)', ['client', first])
    await client.query('select tidings.seek($1, to_id => $2)', ['client', first])
    const after = await ids('select id from tidings.events_after($1)', [first])
    check(positions, after, await ids('select id from tidings.event where id = any($1)', [positions.slice(0, 2)]))
    check(positions, after, await ids('select id from tidings.event where id = any($1::text[])', [positions.slice(0, 2)]))
    await client.query('create temporary table own (id tidings.ulid primary key)')
    await client.query({ name: 'prepared', text: 'insert into own values ($1)', values: [first] })
    await client.query('update own set id = $1 where id = $1::varchar', [first])
    await client.end()
    return require('pg/package.json').version
  },

  async postgres(url) {
    const postgres = require('postgres')
    const sql = postgres(url, { max: 1, onnotice() {} })
    const ids = (rows) => rows.map((row) => row.id)
    const positions = ids(await sql`select id from tidings.event order by id`)
    const first = positions[0]
    await sql`select tidings.poll(${'client'}, ${1})`
    await sql`select tidings.ack(${'client'}, ${first})`
    await sql`select tidings.seek(${'client'}, to_id => ${first})`
    const after = ids(await sql`select id from tidings.events_after(${first})`)
    check(positions, after, ids(await sql`select id from tidings.event where id in ${sql(positions.slice(0, 2))}`))
    check(positions, after, ids(await sql`select id from tidings.event where id = any(${positions.slice(0, 2)}::text[])`))
    await sql`create temporary table own (id tidings.ulid primary key)`
    await sql`insert into own ${sql({ id: first })}`
    await sql`update own set ${sql({ id: first })} where id = ${first}`
    await sql.end()
    return JSON.parse(readFileSync(`${process.env.TIDINGS_NODE_MODULES}/node_modules/postgres/package.json`)).version
  },
}

const [name, url] = process.argv.slice(2)
console.log(JSON.stringify({ client: name, version: await clients[name](url) }))
