// Hosts many named stock clients for a test written in Rust, by requests (`requests.mjs`); whatever waits has a deadline
// (`ms`).

import * as awarenessProtocol from 'y-protocols/awareness'
import { Client } from './client.mjs'
import { HocuspocusClient, isHocuspocus } from './hocuspocus.mjs'
import { chance, edit } from './chance.mjs'
import { content, isPending, load, snapshot, state, stateVector } from './content.mjs'
import { serveRequests } from './requests.mjs'
import { startStorm } from './storm.mjs'
import { readTrace, typeConcurrent, typeSequential } from './trace.mjs'
import { notify, until, within } from './wait.mjs'
import { YSWEET, YSweetClient, sdk } from './ysweet.mjs'

process.setMaxListeners(0)

const clients = new Map()
const traces = new Map()

const clientNamed = name => {
  const client = clients.get(name)
  if (client === undefined) throw new Error(`no client named ${name}`)
  return client
}

const describeAll = list => JSON.stringify(list.map(client => client.describe()))

/** JSON that survives what documents hold. */
const plain = value => {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]))
  if (typeof value === 'bigint') return value.toString()
  return value ?? null
}

const AsyncFunction = (async () => {}).constructor
const SCOPE = ['Y', 'awarenessProtocol', 'me', 'doc', 'text', 'map', 'array', 'xml', 'provider', 'awareness', 'clients', 'args']
const compiled = new Map()

/** Code of a test, run with one client in scope. Without a `return` it is one expression or statement. */
const compile = (code, kind) => {
  const key = `${kind.name} ${code}`
  if (!compiled.has(key)) {
    let made
    try {
      made = kind(...SCOPE, /\breturn\b/.test(code) ? code : `return (${code})`)
    } catch {
      made = kind(...SCOPE, code)
    }
    compiled.set(key, made)
  }
  return compiled.get(key)
}

const scopeOf = (client, args) =>
  [client.Y, awarenessProtocol, client, client.doc, client.text, client.map, client.array, client.xml, client.provider, client.awareness, clients, args]

const converged = list => {
  const docs = list.map(client => client.read())
  if (docs.some(isPending)) return false
  const [first, ...others] = docs
  const vector = stateVector(first)
  if (others.some(doc => stateVector(doc) !== vector)) return false
  const shot = snapshot(first)
  return others.every(doc => snapshot(doc) === shot)
}

const operations = {
  open: ({ client: name, subdocumentOf, ...options }) => {
    if (clients.has(name)) throw new Error(`a client named ${name} is open already`)
    if (subdocumentOf !== undefined) {
      options.doc = compile(subdocumentOf.code, Function)(...scopeOf(clientNamed(subdocumentOf.client), null))
      options.room ??= options.doc.guid
    }
    if (options.sharing !== undefined) options.sharing = clientNamed(options.sharing)
    const Kind = options.version === YSWEET ? YSweetClient : isHocuspocus(options.version) ? HocuspocusClient : Client
    const client = new Kind({ name, ...options })
    clients.set(name, client)
    return { clientId: client.doc.clientID, room: client.room }
  },
  close: ({ client }) => {
    clientNamed(client).destroy()
    clients.delete(client)
  },
  connect: ({ client }) => clientNamed(client).reconnect(),
  disconnect: ({ client }) => clientNamed(client).disconnect(),
  cut: ({ client, stay }) => clientNamed(client).cut(stay),
  run: async ({ client, code, args, ms }) => {
    const it = clientNamed(client)
    return plain(await within(compile(code, AsyncFunction)(...scopeOf(it, args)), ms, () => `${code} ${describeAll([it])}`))
  },
  wait: async ({ client, code, args, ms }) => {
    const it = clientNamed(client)
    const condition = compile(code, Function)
    return plain(await until(() => condition(...scopeOf(it, args)), ms, () => `${code} ${describeAll([it])}`))
  },
  synced: async ({ clients: names, ms }) => {
    const list = names.map(clientNamed)
    await until(() => list.every(client => client.isSynced), ms, () => `synced ${describeAll(list)}`)
  },
  // All have integrated the same updates, nothing waits, they read the same, and the server has it all. What they receive may
  // make clients edit in turn (Yjs tidies formats away), so it counts only if it is still so after everybody was acked.
  converged: async ({ clients: names, ms }) => {
    const list = names.map(clientNamed)
    const deadline = Date.now() + ms
    const left = () => Math.max(deadline - Date.now(), 1)
    const describe = () => `converged ${describeAll(list)}`
    for (;;) {
      await until(() => converged(list), left(), describe)
      const before = snapshot(list[0].read())
      await within(Promise.all(list.filter(client => client.isOpen).map(client => client.ack())), left(), describe)
      if (converged(list) && snapshot(list[0].read()) === before) break
    }
    const [first, ...others] = list.map(client => [client.name, JSON.stringify(content(client.read()))])
    for (const [name, other] of others) {
      if (other !== first[1]) throw new Error(`same state vector and delete set, other content:\n${first[0]}: ${first[1]}\n${name}: ${other}`)
    }
    return state(list[0].read())
  },
  ack: async ({ client, ms }) => {
    const it = clientNamed(client)
    await until(() => it.isOpen, ms, () => describeAll([it]))
    return within(it.ack(), ms, () => `ack ${describeAll([it])}`)
  },
  // y-sweet's SDK, as an application's back end uses it.
  sdk: async ({ manager, method, args, ms }) => plain(await within(sdk(manager, method, args), ms, () => method)),
  state: ({ client }) => state(clientNamed(client).read()),
  load: ({ update }) => {
    const doc = load(Buffer.from(update, 'base64'))
    const loaded = state(doc)
    doc.destroy()
    return loaded
  },
  traffic: ({ client }) => clientNamed(client).takeTraffic(),
  describe: ({ client }) => clientNamed(client).describe(),
  edit: ({ client, seed, edits }) => {
    const rng = chance(seed)
    for (let i = 0; i < edits; i++) edit(rng, clientNamed(client))
  },
  storm: ({ client, prefix, window }) => { startStorm(clientNamed(client), { prefix, window }) },
  stormAccount: ({ client }) => {
    const { sent, acked } = clientNamed(client).storm
    return { sent, acked }
  },
  stormAcked: async ({ clients: names, total, ms }) => {
    const list = names.map(clientNamed)
    const acked = () => list.reduce((sum, client) => sum + client.storm.acked, 0)
    await until(() => acked() >= total || list.every(client => !client.isOpen), ms, () => `acked ${acked()} of ${total} ${describeAll(list)}`)
    return acked()
  },
  stormStop: async ({ client }) => {
    const { storm } = clientNamed(client)
    storm.stopped = true
    await storm.done
    return { sent: storm.sent, acked: storm.acked }
  },
  readTrace: ({ trace, path }) => {
    const read = readTrace(path)
    traces.set(trace, read)
    return { edits: read.txns.length, agents: read.numAgents ?? 1, concurrent: read.concurrent, endLength: read.endContent.length }
  },
  typeTrace: async ({ trace, clients: names, sliceEdits, ms }) => {
    const history = traces.get(trace)
    const list = names.map(clientNamed)
    return history.concurrent ? typeConcurrent(history, list, ms) : typeSequential(history, list, sliceEdits, ms)
  },
  // Whether a client reads what the history says it should; a mismatch says where.
  checkTrace: ({ trace, client }) => {
    const [read, expected] = [clientNamed(client).text.toString(), traces.get(trace).endContent]
    if (read === expected) return { chars: expected.length }
    let at = 0
    while (at < read.length && read[at] === expected[at]) at++
    throw new Error(`differs from the recorded end at ${at} (${read.length} for ${expected.length} chars): read ${JSON.stringify(read.slice(at, at + 60))}, recorded ${JSON.stringify(expected.slice(at, at + 60))}`)
  }
}

process.on('uncaughtException', error => {
  console.error('driver: uncaught', error)
  process.exit(1)
})

// The test ended. No goodbyes: what the server must survive is a client that is simply gone.
serveRequests(operations, { answered: notify, ended: () => process.exit(0) })
