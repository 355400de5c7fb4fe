// Records what stock clients put on the wire, against a small server of y-protocols' own parts, and writes one file per
// version: `node record.mjs ../../fixtures/frames`. Client ids, guids and timing are fixed, so the same versions record the same bytes.
//
// Lines are JSON: {"dir": "c>s" | "s>c", "meaning", "hex"}, {"event": "open" | "close"}, and at the end {"end": …}, what the
// document held. Only one client's socket is recorded; the other one is there so that the server has something to relay.

import * as Y from 'yjs'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as awarenessProtocol from 'y-protocols/awareness'
import * as syncProtocol from 'y-protocols/sync'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { WebSocketServer } from 'ws'
import { Client } from './client.mjs'
import { content } from './content.mjs'
import { until } from './wait.mjs'

const VERSIONS = ['1.5.4', '2.1.0', '3.1.0']
const PATIENCE_MS = 10000
console.log = console.error

const hex = bytes => Buffer.from(bytes).toString('hex')

const message = write => {
  const encoder = encoding.createEncoder()
  write(encoder)
  return encoding.toUint8Array(encoder)
}

/** The protocol as its authors' server speaks it, in memory, for one document. */
const startServer = async () => {
  const doc = new Y.Doc()
  doc.clientID = 1
  const awareness = new awarenessProtocol.Awareness(doc)
  awareness.setLocalState(null)
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await new Promise(resolve => server.on('listening', resolve))
  const broadcast = bytes => server.clients.forEach(ws => ws.send(bytes))
  const presence = ids => message(encoder => {
    encoding.writeVarUint(encoder, 1)
    encoding.writeVarUint8Array(encoder, awarenessProtocol.encodeAwarenessUpdate(awareness, ids))
  })
  doc.on('update', update => broadcast(message(encoder => {
    encoding.writeVarUint(encoder, 0)
    syncProtocol.writeUpdate(encoder, update)
  })))
  awareness.on('update', ({ added, updated, removed }) => broadcast(presence([...added, ...updated, ...removed])))
  server.on('connection', ws => {
    ws.binaryType = 'arraybuffer'
    ws.on('message', data => {
      const decoder = decoding.createDecoder(new Uint8Array(data))
      const type = decoding.readVarUint(decoder)
      if (type === 0) {
        const reply = encoding.createEncoder()
        encoding.writeVarUint(reply, 0)
        syncProtocol.readSyncMessage(decoder, reply, doc, ws)
        if (encoding.length(reply) > 1) ws.send(encoding.toUint8Array(reply))
      } else if (type === 1) {
        awarenessProtocol.applyAwarenessUpdate(awareness, decoding.readVarUint8Array(decoder), ws)
      }
    })
    ws.send(message(encoder => {
      encoding.writeVarUint(encoder, 0)
      syncProtocol.writeSyncStep1(encoder, doc)
    }))
    if (awareness.getStates().size > 0) ws.send(presence([...awareness.getStates().keys()]))
  })
  const stop = () => {
    awareness.destroy()
    server.clients.forEach(ws => ws.terminate())
    server.close()
  }
  return { url: `ws://127.0.0.1:${server.address().port}`, doc, askPresence: () => broadcast(new Uint8Array([3])), stop }
}

/** In words, what a frame says. */
const meaningOf = bytes => {
  const decoder = decoding.createDecoder(bytes)
  const type = decoding.readVarUint(decoder)
  if (type === 3) return 'QueryAwareness'
  if (type === 1) {
    const entries = decoding.createDecoder(decoding.readVarUint8Array(decoder))
    const said = Array.from({ length: decoding.readVarUint(entries) }, () => {
      const [client, clock, state] = [decoding.readVarUint(entries), decoding.readVarUint(entries), decoding.readVarString(entries)]
      return `${client} at ${clock}${state === 'null' ? ' gone' : ''}`
    })
    return `Awareness: ${said.join(', ') || 'nobody'}`
  }
  const step = decoding.readVarUint(decoder)
  const payload = decoding.readVarUint8Array(decoder)
  if (step === 0) {
    const known = [...Y.decodeStateVector(payload)].map(([client, clock]) => `${client}:${clock}`)
    return `SyncStep1: knows ${known.join(', ') || 'nothing'}`
  }
  const { structs, ds } = Y.decodeUpdate(payload)
  return `${step === 1 ? 'SyncStep2' : 'Update'}: ${structs.length} structs, deletions by ${ds.clients.size} clients`
}

const record = async version => {
  const server = await startServer()
  const lines = []
  const open = (name, clientId, version) => {
    const client = new Client({ name, version, url: server.url, room: 'recorded', clientId, connect: false })
    client.awareness.setLocalState(null)
    return client
  }
  const other = open('other', 2000, '3.1.0')
  other.provider.connect()
  const settled = () => until(() => {
    const vectors = [server.doc, me.doc, other.doc].map(doc => hex(Y.encodeSnapshot(Y.snapshot(doc))))
    return me.provider.synced && other.provider.synced && vectors.every(vector => vector === vectors[0])
  }, PATIENCE_MS, () => 'settled')
  const sees = (watcher, id, check) => until(() => check(watcher.awareness.getStates().get(id)), PATIENCE_MS, () => 'presence')

  const me = open('me', 1000, version)
  // Between the wire and the provider, in both directions.
  const Watched = me.provider._WS
  me.provider._WS = class extends Watched {
    constructor (...args) {
      super(...args)
      this.on('open', () => lines.push({ event: 'open' }))
      this.on('close', () => lines.push({ event: 'close' }))
    }

    send (data, ...rest) {
      const bytes = new Uint8Array(data)
      lines.push({ dir: 'c>s', meaning: meaningOf(bytes), hex: hex(bytes) })
      super.send(data, ...rest)
    }

    emit (name, ...args) {
      if (name === 'message') lines.push({ dir: 's>c', meaning: meaningOf(new Uint8Array(args[0])), hex: hex(new Uint8Array(args[0])) })
      return super.emit(name, ...args)
    }
  }
  const scene = async (name, act) => {
    lines.push({ scene: name })
    await act()
    await settled()
  }

  await until(() => other.provider.synced, PATIENCE_MS, () => 'the other is connected')
  await scene('opening with nothing', async () => {
    me.provider.connect()
    await until(() => me.provider.synced, PATIENCE_MS, () => 'synced')
  })
  await scene('presence', async () => {
    me.awareness.setLocalState({ user: { name: 'Ada', color: '#ff8800' }, cursor: null })
    await sees(other, 1000, state => state?.user.name === 'Ada')
    me.awareness.setLocalStateField('cursor', { anchor: 3, head: 7 })
    await sees(other, 1000, state => state?.cursor?.head === 7)
  })
  await scene('the other one is there', async () => {
    other.awareness.setLocalState({ user: { name: 'Ben' } })
    await sees(me, 2000, state => state?.user.name === 'Ben')
  })
  await scene('typing', () => { for (const [at, char] of [...'Hello, wörld'].entries()) me.text.insert(at, char) })
  await scene('an emoji and a selection', () => {
    me.text.insert(me.text.length, ' 🧶')
    me.text.format(0, 5, { bold: true })
  })
  await scene('backspace', () => { for (let i = 0; i < 3; i++) me.text.delete(4 - i, 1) })
  await scene('an embed', () => me.text.insertEmbed(2, { image: 'loom.png', width: 640 }))
  await scene('pasting', () => me.text.insert(0, 'Lorem ipsum dolor sit amet, consectetur adipiscing elit. '.repeat(40)))
  await scene('a map', () => {
    me.map.set('title', 'Weft')
    me.map.set('title', 'Weft & warp')
    me.map.set('values', [1, -1, 0.1, 2 ** 40, true, false, null, 'x', { deep: { er: [] } }])
    me.map.set('bytes', new Uint8Array([0, 127, 255]))
    me.map.set('gone', 1)
    me.map.delete('gone')
  })
  await scene('an array with shared types in it', () => {
    me.array.push(['a', 'b', 'c'])
    me.array.insert(1, [new Y.Map([['k', new Y.Text('nested')]])])
    me.array.get(1).get('k').insert(6, ' deeper')
    me.array.delete(0, 1)
  })
  await scene('XML', () => {
    me.doc.transact(() => {
      const paragraph = new Y.XmlElement('paragraph')
      paragraph.setAttribute('align', 'center')
      paragraph.insert(0, [new Y.XmlText('in a paragraph')])
      me.xml.insert(0, [paragraph, new Y.XmlElement('horizontal_rule')])
    })
    me.xml.get(0).get(0).format(3, 1, { em: {} })
    me.xml.delete(1, 1)
  })
  await scene('sub-documents, and neighbours deleted', () => {
    me.array.push([1, 2, 3].map(n => new Y.Doc({ guid: `0000000${n}-0000-4000-8000-000000000000`, meta: { n } })))
    me.array.delete(3, 2)
  })
  await scene('undo', () => {
    const undo = new Y.UndoManager(me.text, { captureTimeout: 0 })
    me.text.insert(0, 'oops')
    undo.undo()
    undo.redo()
    undo.undo()
    undo.destroy()
  })
  await scene('the other one edits', () => {
    other.text.insert(0, 'Ben was here. ')
    other.map.set('reviewed', true)
  })
  await scene('asked for presence', async () => {
    const before = lines.length
    server.askPresence()
    await until(() => lines.slice(before).some(line => line.dir === 'c>s' && line.meaning.startsWith('Awareness')), PATIENCE_MS, () => 'an answer')
  })
  lines.push({ scene: 'leaving' })
  me.provider.disconnect()
  await until(() => lines[lines.length - 1].event === 'close' || me.provider.ws === null, PATIENCE_MS, () => 'closed')
  await until(() => lines.some(line => line.event === 'close'), PATIENCE_MS, () => 'closed')
  me.text.insert(0, 'Written offline. ')
  me.array.delete(0, 1)
  other.text.insert(other.text.length, ' Meanwhile.')
  await until(() => server.doc.getText('text').toString().endsWith('Meanwhile.'), PATIENCE_MS, () => 'meanwhile')
  await scene('coming back', async () => {
    me.provider.connect()
    await until(() => me.provider.synced, PATIENCE_MS, () => 'synced')
  })
  await scene('after the return', () => me.text.insert(0, '# '))
  lines.push({ scene: 'cut off' })
  me.cut(true)
  await until(() => lines[lines.length - 1].event === 'close', PATIENCE_MS, () => 'closed')
  lines.push({ end: { client: `y-websocket ${version}`, content: content(me.doc), stateVector: hex(Y.encodeStateVector(me.doc)) } })
  server.stop()
  return lines
}

const folder = process.argv[2]
mkdirSync(folder, { recursive: true })
for (const version of VERSIONS) {
  const lines = await record(version)
  writeFileSync(join(folder, `y-websocket-${version}.jsonl`), lines.map(line => JSON.stringify(line) + '\n').join(''))
}
process.exit(0)
