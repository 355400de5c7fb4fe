// Typing recorded editing histories through sockets, edit by edit.

import * as Y from 'yjs'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { until } from './wait.mjs'

// Edits typed before the event loop gets a turn, so that sockets are read and written as in a browser.
const EDITS_PER_TURN = 64
const turn = () => new Promise(resolve => setImmediate(resolve))

export const readTrace = path => {
  const trace = JSON.parse(gunzipSync(readFileSync(path)))
  trace.startContent ??= ''
  trace.concurrent = trace.numAgents !== undefined
  trace.astral = trace.txns.some(txn => txn.patches.some(patch => /[\ud800-\udfff]/.test(patch[2]))) || /[\ud800-\udfff]/.test(trace.startContent)
  return trace
}

/** Positions in traces count code points, Yjs counts UTF-16 units. */
const toUtf16 = (string, codePoints) => {
  let at = 0
  for (let i = 0; i < codePoints; i++) at += string.codePointAt(at) > 0xffff ? 2 : 1
  return at
}

const typePatches = (trace, doc, patches) => {
  const text = doc.getText('text')
  doc.transact(() => {
    for (const [position, deleted, inserted] of patches) {
      let [from, length] = [position, deleted]
      if (trace.astral) {
        const string = text.toString()
        from = toUtf16(string, position)
        length = toUtf16(string, position + deleted) - from
      }
      if (length > 0) text.delete(from, length)
      if (inserted !== '') text.insert(from, inserted)
    }
  })
}

const sameState = clients => {
  const vectors = clients.map(client => client.doc.store.clients)
  const clockOf = structs => { const last = structs[structs.length - 1]; return last.id.clock + last.length }
  const [first, ...others] = vectors.map(structs => new Map([...structs].map(([id, list]) => [id, clockOf(list)])))
  return others.every(other => other.size === first.size && [...first].every(([id, clock]) => other.get(id) === clock))
}

/**
 * One after another, each client types a slice of the history once it has all earlier slices. Deletions leave no mark in a
 * state vector, so a slice begins only when the next writer's text has also the length the history says.
 */
export const typeSequential = async (trace, clients, sliceEdits, ms) => {
  if (trace.startContent !== '') clients[0].text.insert(0, trace.startContent)
  let edits = 0
  let length = trace.startContent.length
  for (let from = 0, turnOf = 0; from < trace.txns.length; from += sliceEdits, turnOf++) {
    const client = clients[turnOf % clients.length]
    await until(() => client.text.length === length && sameState(clients), ms, () => `${client.name} has not all of the slices before edit ${from}`)
    for (let i = from; i < Math.min(from + sliceEdits, trace.txns.length); i++) {
      typePatches(trace, client.doc, trace.txns[i].patches)
      edits++
      if (edits % EDITS_PER_TURN === 0) await turn()
    }
    length = client.text.length
  }
  await until(() => sameState(clients) && clients.every(client => client.text.length === length), ms, () => 'the last slice has not reached everybody')
  return { edits }
}

/**
 * Every agent has a document of its own, brought to exactly the state that the history says it had before each edit; the
 * edit's bytes are then given to that agent's socket. What travels and arrives between is real concurrency.
 */
export const typeConcurrent = async (trace, clients, ms) => {
  const agents = trace.numAgents
  if (clients.length !== agents) throw new Error(`the trace has ${agents} agents, but ${clients.length} clients were given`)
  const docs = clients.map((client, agent) => {
    const doc = new Y.Doc()
    doc.clientID = agent + 1 // the histories were recorded with ties won in this order
    return doc
  })
  const typed = clients.map(() => []) // updates of each agent, in its order
  let last = null
  docs.forEach(doc => doc.on('update', (update, origin) => { if (origin !== 'merge') last = update }))
  const known = clients.map(() => new Array(agents).fill(0)) // per agent: how many edits of each other one it has merged
  const versions = [] // per edit: how many edits of each agent it builds on, itself included
  for (let i = 0; i < trace.txns.length; i++) {
    const { parents, agent, patches } = trace.txns[i]
    const version = new Array(agents).fill(0)
    for (const parent of parents) versions[parent].forEach((n, a) => { version[a] = Math.max(version[a], n) })
    if (version[agent] !== typed[agent].length) throw new Error(`edit ${i} does not follow its agent's last one`)
    for (let a = 0; a < agents; a++) {
      if (a === agent || known[agent][a] >= version[a]) continue
      Y.applyUpdate(docs[agent], Y.mergeUpdates(typed[a].slice(known[agent][a], version[a])), 'merge')
      known[agent][a] = version[a]
    }
    last = null
    typePatches(trace, docs[agent], patches)
    typed[agent].push(last ?? new Uint8Array([0, 0]))
    version[agent]++
    versions.push(version)
    if (last !== null) {
      const client = clients[agent]
      const needed = Y.decodeStateVector(Y.encodeStateVector(docs[agent]))
      needed.delete(agent + 1)
      const has = () => [...needed].every(([id, clock]) => Y.getState(client.doc.store, id) >= clock)
      if (!has()) await until(has, ms, () => `${client.name} has not received what edit ${i} builds on`)
      Y.applyUpdate(client.doc, last, 'agent')
    }
    if (i % EDITS_PER_TURN === 0) await turn()
  }
  await until(() => sameState(clients), ms, () => 'the last edits have not reached everybody')
  return { edits: trace.txns.length }
}
