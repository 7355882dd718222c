// The receiver that people write first: Express checks the signature, and pg inserts one
// row a request. PORT, TABLE and DATABASE_URL say where; the first line on stdout is the
// address.
import crypto from 'node:crypto'
import express from 'express'
import pg from 'pg'

const key = process.env.PROJECT
const source = 1
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: Number(process.env.CONNECTIONS) })

const kinds = {
  'transaction:message:delivered': 'message.delivered',
  'transaction:message:clicked': 'message.clicked',
  'transaction:message:rejected': 'message.rejected',
  'transaction:message:error': 'message.failed'
}

const insert = {
  name: 'insert',
  text: `insert into ${process.env.TABLE} (
      event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
      message_id, recipient, reason, payload
    ) values ($1, $2, 'pushpushgo', $3, $4, 'push', $5, $6, $7, $8, $9, $10)
    on conflict do nothing`
}

function genuine(body, signature) {
  if (typeof signature !== 'string') return false
  const expected = crypto.createHmac('sha1', key).update(body).digest()
  const given = Buffer.from(signature, 'hex')
  return given.length === expected.length && crypto.timingSafeEqual(given, expected)
}

// The identity of an event: its time, then a hash of what it says.
function identity(at, event) {
  const hash = crypto.createHash('sha1')
    .update(`${event.kind}|${event.messageId}|${event.subscriberId}|${event.ts}|${event.clickAction ?? ''}`)
    .digest('hex')
  return at.getTime().toString(16).padStart(12, '0') + hash.slice(0, 20)
}

const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.post('/hooks/:source', express.raw({ type: () => true, limit: '1mb' }), async (request, response) => {
  if (!genuine(request.body, request.headers['x-ppg-signature'])) {
    return response.status(401).json({ error: 'unauthorized' })
  }
  let event
  try {
    event = JSON.parse(request.body)
  } catch {
    return response.status(400).json({ error: 'malformed' })
  }
  const at = new Date(event.ts)
  try {
    const stored = await pool.query({
      ...insert,
      values: [
        identity(at, event), source, kinds[event.kind] ?? 'other', event.kind, at, new Date(),
        event.messageId, event.subscriberId, event.reason ?? event.error ?? null, request.body.toString()
      ]
    })
    response.json({ inserted: stored.rowCount, duplicate: 1 - stored.rowCount })
  } catch (error) {
    console.error(error.message)
    response.status(503).json({ error: 'unavailable' })
  }
})

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`127.0.0.1:${server.address().port}`)
})
