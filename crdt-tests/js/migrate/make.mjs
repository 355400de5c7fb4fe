// Writes fixtures/migrate: small data directories of other servers, each written by that server itself, and beside each what
// the source's own library reads of it (`expected.json`).
//
//   npm ci && Y_SWEET=/path/to/y-sweet node make.mjs ../../../fixtures/migrate [hocuspocus y-leveldb y-sweet updates]
//
// `cargo install y-sweet --version 0.9.1 --locked` makes the y-sweet binary. Clients are the stock ones of the folder above
// (`npm ci` there too). Client ids are fixed, times are not: a second run says the same in other bytes.

import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as Y from 'yjs'
import { WebSocket } from 'ws'
import { Client } from '../client.mjs'
import { load, state } from '../content.mjs'
import { notify, until } from '../wait.mjs'

const PATIENCE_MS = 20000
const here = fileURLToPath(new URL('.', import.meta.url))
console.log = console.error
globalThis.WebSocket ??= WebSocket
// Other providers than the tests' own client tell nobody that something happened.
setInterval(notify, 20)

/** What a fresh document of the tests' own Yjs holds after the bytes that the source's library gave. */
const read = update => {
  const doc = load(update)
  const read = state(doc)
  doc.destroy()
  return read
}

/** Three updates of a text; the last of them belongs in between. */
const threeUpdates = () => {
  const doc = new Y.Doc()
  doc.clientID = 4242
  const updates = []
  doc.on('update', update => updates.push(update))
  doc.getText('text').insert(0, 'here ')
  doc.getText('text').insert(5, 'missing ')
  doc.getText('text').insert(13, 'waiting')
  return [updates[0], updates[2], updates[1]]
}
/** A text with a hole in it. */
const withGap = () => threeUpdates().slice(0, 2)

// ---- what the documents hold; types must be made by the copy of Yjs that holds the document ----

const rich = (me, Y) => {
  me.text.insert(0, 'Hello, wörld 🧶')
  me.text.format(0, 5, { bold: true })
  me.text.format(3, 8, { link: { href: 'https://example.com/' } })
  me.text.insertEmbed(2, { image: 'loom.png', width: 640 })
  me.text.delete(7, 2)
  me.map.set('title', 'Weft')
  me.map.set('title', 'Weft & warp')
  me.map.set('values', [1, -1, 0.1, 2 ** 40, true, false, null, 'x', 2n ** 60n, { deep: { er: [] } }])
  me.map.set('bytes', new Uint8Array([0, 127, 255]))
  me.map.set('gone', 1)
  me.map.delete('gone')
  me.array.push(['a', 'b', 'c'])
  me.array.insert(1, [new Y.Map([['k', new Y.Text('nested')]])])
  me.array.get(1).get('k').insert(6, ' deeper')
  me.array.delete(0, 1)
  me.doc.transact(() => {
    const paragraph = new Y.XmlElement('paragraph')
    paragraph.setAttribute('align', 'center')
    paragraph.insert(0, [new Y.XmlText('in a paragraph')])
    me.xml.insert(0, [paragraph, new Y.XmlElement('horizontal_rule')])
  })
  me.xml.get(0).get(0).format(3, 1, { em: {} })
  me.xml.delete(1, 1)
}
const subdocuments = (me, Y) => {
  me.array.push([1, 2].map(n => new Y.Doc({ guid: `0000000${n}-0000-4000-8000-000000000000`, meta: { n } })))
  me.array.delete(0, 1)
}
const many = me => { for (let i = 0; i < 300; i++) me.text.insert(me.text.length, `${i} `) }
const deleted = (me, Y) => {
  me.text.insert(0, 'all of this goes')
  me.map.set('this', 'too')
  me.array.push([new Y.Map([['and', 'this']])])
  me.text.delete(0, me.text.length)
  me.map.delete('this')
  me.array.delete(0, 1)
}
const large = me => { for (let i = 0; i < 40; i++) me.text.insert(0, `${i}: Lorem ipsum dolor sit amet, consectetur adipiscing elit. `.repeat(10)) }
const nothing = () => {}

/** Yjs as the stock clients of the folder above import it. */
const Y2 = await import(createRequire(new URL('../client.mjs', import.meta.url)).resolve('yjs').replace(/yjs\.cjs$/, 'yjs.mjs'))

const freePort = () => new Promise(resolve => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

/** Starts a server and waits until `url` answers anything. */
const startProcess = async (command, args, env, port) => {
  const child = spawn(command, args, { cwd: here, env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'inherit'] })
  process.on('exit', () => child.kill('SIGKILL'))
  const ended = new Promise(resolve => child.on('exit', resolve))
  const answers = async () => fetch(`http://127.0.0.1:${port}/`).then(() => true, () => false)
  for (let i = 0; !(await answers()); i++) {
    if (i > 200) throw new Error(`${command} does not answer`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  return { signal: signal => child.kill(signal), stop: signal => { child.kill(signal); return ended } }
}

let nextClient = 1000
/** Two clients on one document: what one writes, the other has got from the server. */
const write = async (url, room, edit, params = {}) => {
  const open = name => new Client({ name, version: '3.1.0', url, room, clientId: nextClient++, params })
  const [me, other] = [open('me'), open('other')]
  await until(() => me.provider.synced && other.provider.synced, PATIENCE_MS, () => `${room} synced`)
  edit(me, Y2)
  await settled(me, other, room)
  if (edit !== nothing && edit !== deleted) {
    other.text.insert(0, 'Ben was here. ')
    await settled(me, other, room)
  }
  me.destroy()
  other.destroy()
}
const shot = client => Buffer.from(Y2.encodeSnapshot(Y2.snapshot(client.doc))).toString('hex')
const settled = (a, b, room) => until(() => shot(a) === shot(b), PATIENCE_MS, () => `${room} settled`)

const fresh = (root, name) => {
  const dir = join(root, name)
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir, { recursive: true })
  return dir
}

const expect = (dir, docs) => {
  const sorted = Object.fromEntries(Object.entries(docs).sort(([a], [b]) => (a < b ? -1 : 1)))
  writeFileSync(join(dir, 'expected.json'), JSON.stringify(sorted, null, 1) + '\n')
}

const NAMED = { 'notes/today': rich, 'läuft/über 🧶': rich, 'sub/documents': subdocuments, many, deleted, large, empty: nothing }

// ---- Hocuspocus ----

const hocuspocusServer = async (file, port, wal) => {
  const script = `
    import { Server } from '@hocuspocus/server'
    import { SQLite } from '@hocuspocus/extension-sqlite'
    const sqlite = new SQLite({ database: process.env.FILE })
    const server = new Server({ port: Number(process.env.PORT), quiet: true, debounce: 50, maxDebounce: 200, extensions: [sqlite] })
    await server.listen()
    if (process.env.WAL) await new Promise(done => sqlite.db.run('PRAGMA journal_mode = WAL', done))
    process.on('SIGUSR2', async () => {
      const gap = JSON.parse(process.env.GAP)
      const { applyUpdate } = await import('yjs')
      const direct = await server.hocuspocus.openDirectConnection('with a gap')
      await direct.transact(doc => gap.forEach(update => applyUpdate(doc, Buffer.from(update, 'base64'))))
      await direct.disconnect()
    })`
  const GAP = JSON.stringify(withGap().map(update => Buffer.from(update).toString('base64')))
  return startProcess(process.execPath, ['--input-type=module', '-e', script], { FILE: file, PORT: port, GAP, WAL: wal ? '1' : '' }, port)
}

const hocuspocus = async root => {
  const { HocuspocusProvider, HocuspocusProviderWebsocket } = await import('@hocuspocus/provider')
  const { default: sqlite3 } = await import('sqlite3')
  const edit = async (port, name, edit) => {
    const websocketProvider = new HocuspocusProviderWebsocket({ url: `ws://127.0.0.1:${port}`, WebSocketPolyfill: WebSocket })
    const doc = new Y.Doc()
    doc.clientID = nextClient++
    const provider = new HocuspocusProvider({ websocketProvider, name, document: doc })
    provider.attach()
    await until(() => provider.synced, PATIENCE_MS, () => `${name} synced`)
    const get = (kind, name) => doc[`get${kind}`](name)
    edit({ doc, text: get('Text', 'text'), map: get('Map', 'map'), array: get('Array', 'array'), xml: get('XmlFragment', 'xml') })
    await until(() => provider.unsyncedChanges === 0, PATIENCE_MS, () => `${name} stored`)
    await new Promise(resolve => setTimeout(resolve, 400))
    provider.destroy()
    websocketProvider.destroy()
  }
  for (const wal of [false, true]) {
    const dir = fresh(root, wal ? 'hocuspocus-wal' : 'hocuspocus')
    const file = join(dir, 'db.sqlite')
    const port = await freePort()
    const server = await hocuspocusServer(file, port, wal)
    if (wal) {
      await edit(port, 'notes/today', me => me.text.insert(0, 'in the write-ahead log'))
      await edit(port, 'other', me => me.map.set('k', 'v'))
    } else {
      for (const [name, fill] of Object.entries(NAMED)) await edit(port, name, me => fill(me, Y))
      server.signal('SIGUSR2')
      await new Promise(resolve => setTimeout(resolve, 1000))
    }
    await server.stop('SIGKILL')
    const copy = mkdtempSync(join(tmpdir(), 'hocuspocus-'))
    cpSync(dir, copy, { recursive: true })
    const db = new sqlite3.Database(join(copy, 'db.sqlite'))
    const rows = await new Promise((resolve, reject) => db.all('SELECT name, data FROM documents', (error, rows) => (error ? reject(error) : resolve(rows))))
    expect(dir, Object.fromEntries(rows.map(({ name, data }) => [name, read(data)])))
    db.close()
    rmSync(copy, { recursive: true })
  }
}

// ---- y-websocket's server with y-leveldb ----

const yLeveldb = async root => {
  const { LeveldbPersistence } = await import('y-leveldb')
  const dir = fresh(root, 'y-leveldb')
  const data = join(dir, 'db')
  const serve = async (signal, act) => {
    const port = await freePort()
    const server = await startProcess(process.execPath, ['node_modules/@y/websocket-server/src/server.js'], { PORT: port, HOST: '127.0.0.1', YPERSISTENCE: data }, port)
    await act(`ws://127.0.0.1:${port}`)
    await new Promise(resolve => setTimeout(resolve, 500))
    await server.stop(signal)
  }
  const rooms = Object.entries(NAMED)
  const path = name => name.split('/').map(encodeURIComponent).join('/')
  await serve('SIGTERM', async url => { for (const [name, fill] of rooms.slice(0, 4)) await write(url, path(name), fill) })
  await serve('SIGKILL', async url => {
    for (const [name, fill] of rooms.slice(4)) await write(url, path(name), fill)
    await write(url, 'cleared', rich)
  })
  // As a program does that uses y-leveldb itself: metadata, a document that is removed, a hole, one that was folded.
  const db = new LeveldbPersistence(data)
  await db.setMeta('notes/today', 'owner', { name: 'Ada' })
  await db.clearDocument('cleared')
  for (const update of withGap()) await db.storeUpdate('with a gap', update)
  const long = new Y.Doc()
  long.clientID = 77
  const updates = []
  long.on('update', update => updates.push(update))
  for (let i = 0; i < 520; i++) long.getText('text').insert(i, 'x')
  for (const update of updates.slice(0, 510)) await db.storeUpdate('folded', update)
  await db.getYDoc('folded')
  for (const update of updates.slice(510)) await db.storeUpdate('folded', update)
  await db.destroy()
  // Opened and closed a few times, as over weeks: the log becomes tables, and tables are merged.
  for (let i = 0; i < 5; i++) {
    const again = new LeveldbPersistence(data)
    const doc = new Y.Doc()
    doc.clientID = 900 + i
    doc.getText('text').insert(0, `restart ${i}. `)
    await again.storeUpdate('notes/today', Y.encodeStateAsUpdate(doc))
    await again.destroy()
  }
  const copy = mkdtempSync(join(tmpdir(), 'y-leveldb-'))
  cpSync(data, copy, { recursive: true })
  const reader = new LeveldbPersistence(copy)
  const docs = {}
  for (const name of await reader.getAllDocNames()) docs[name] = read(Y.encodeStateAsUpdate(await reader.getYDoc(name)))
  await reader.destroy()
  rmSync(copy, { recursive: true })
  // What LevelDB tells people, with times in it.
  for (const name of ['LOG', 'LOG.old']) rmSync(join(data, name), { force: true })
  expect(dir, docs)
}

// ---- y-sweet ----

const ySweet = async root => {
  const binary = process.env.Y_SWEET
  if (binary === undefined) throw new Error('Y_SWEET does not name the y-sweet binary')
  const dir = fresh(root, 'y-sweet')
  const data = join(dir, 'store')
  const serve = async (data, act) => {
    const port = await freePort()
    const server = await startProcess(binary, ['serve', data, '--port', `${port}`, '--checkpoint-freq-seconds', '1'], {}, port)
    const result = await act(`127.0.0.1:${port}`)
    await new Promise(resolve => setTimeout(resolve, 2500))
    await server.stop('SIGTERM')
    return result
  }
  // y-sweet's names have letters, digits, - and _ only.
  const NAMES = { 'notes-today': rich, sub_documents: subdocuments, many, deleted, large, empty: nothing }
  await serve(data, async host => {
    for (const [docId, fill] of Object.entries({ ...NAMES, gap: null })) {
      const made = await fetch(`http://${host}/doc/new`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ docId }) })
      if (!made.ok) throw new Error(`${docId}: ${made.status}`)
      if (fill !== null) {
        await write(`ws://${host}/d/${docId}/ws`, docId, fill)
        continue
      }
      for (const update of withGap()) await fetch(`http://${host}/d/${docId}/update`, { method: 'POST', body: update })
    }
  })
  const copy = mkdtempSync(join(tmpdir(), 'y-sweet-'))
  cpSync(data, copy, { recursive: true })
  const docs = await serve(copy, async host => {
    const docs = {}
    for (const name of readdirSync(data)) {
      const answer = await fetch(`http://${host}/d/${name}/as-update`)
      if (!answer.ok) throw new Error(`${name}: ${answer.status}`)
      docs[name] = read(new Uint8Array(await answer.arrayBuffer()))
    }
    return docs
  })
  rmSync(copy, { recursive: true })
  expect(dir, docs)
}

// ---- files ----

const updates = async root => {
  const dir = fresh(root, 'updates')
  const files = join(dir, 'files')
  const docs = {}
  for (const [name, fill] of Object.entries(NAMED)) {
    const doc = new Y.Doc()
    doc.clientID = nextClient++
    const all = []
    doc.on('update', update => all.push(update))
    fill({ doc, text: doc.getText('text'), map: doc.getMap('map'), array: doc.getArray('array'), xml: doc.getXmlFragment('xml') }, Y)
    const path = join(files, name.split('/').map(encodeURIComponent).join('/'))
    mkdirSync(join(path, '..'), { recursive: true })
    if (name === 'sub/documents') {
      mkdirSync(`${path}.updates`)
      all.forEach((update, n) => writeFileSync(join(`${path}.updates`, `${n}.bin`), update))
    } else {
      writeFileSync(`${path}.${name.length % 2 ? 'update' : 'bin'}`, Y.encodeStateAsUpdate(doc))
    }
    docs[name] = read(Y.encodeStateAsUpdate(doc))
  }
  // Not taken: another encoding, and what is no update at all.
  const doc = new Y.Doc()
  doc.clientID = 1
  doc.getText('text').insert(0, 'second encoding')
  writeFileSync(join(files, 'version2.update'), Y.encodeStateAsUpdateV2(doc))
  writeFileSync(join(files, 'letter.update'), 'Dear admin,\n')
  expect(dir, docs)
}

const MAKERS = { hocuspocus, 'y-leveldb': yLeveldb, 'y-sweet': ySweet, updates }
const [root, ...which] = process.argv.slice(2)
mkdirSync(root, { recursive: true })
writeFileSync(join(root, 'missing.update'), threeUpdates()[2])
for (const name of which.length > 0 ? which : Object.keys(MAKERS)) {
  await MAKERS[name](root)
  console.error(`${name}: written`)
}
process.exit(0)
