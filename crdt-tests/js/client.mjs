// One stock y-websocket provider with its Y.Doc, watched from outside: bytes and frames are counted, close codes noted,
// and acks (message 102, which stock y-websocket clients never send) can be asked for on the same socket.

import * as Y from 'yjs'
import * as encoding from 'lib0/encoding'
import * as decoding from 'lib0/decoding'
import { WebSocket } from 'ws'
import { WebsocketProvider as V1 } from 'y-websocket-1'
import { WebsocketProvider as V2 } from 'y-websocket-2'
import { WebsocketProvider as V3 } from 'y-websocket-3'
import { count, cutLine, watchedSocket, Watched } from './socket.mjs'
import { notify } from './wait.mjs'

const PROVIDERS = { '1.5.4': V1, '2.1.0': V2, '3.1.0': V3 }
const ACK = 102
const MESSAGE_NAMES = ['sync', 'awareness', 'auth', 'queryAwareness']
const SYNC_NAMES = ['step1', 'step2', 'update']

/** What a frame is, for counting: step1, step2, update, awareness, auth, queryAwareness, or other. */
export const frameKind = bytes =>
  bytes[0] === 0 ? (SYNC_NAMES[bytes[1]] ?? 'other') : (MESSAGE_NAMES[bytes[0]] ?? 'other')

/** Counts a frame of y-websocket's or y-sweet's. */
export const countFrame = (traffic, direction, bytes) => count(traffic, direction, bytes, frameKind(bytes))

/** The 102 message carrying `number`. */
export const ackMessage = number => {
  const inner = encoding.createEncoder()
  encoding.writeVarUint(inner, number)
  const outer = encoding.createEncoder()
  encoding.writeVarUint(outer, ACK)
  encoding.writeVarUint8Array(outer, encoding.toUint8Array(inner))
  return encoding.toUint8Array(outer)
}

/** The number that a 102 message carries. */
export const ackNumber = bytes => {
  const decoder = decoding.createDecoder(bytes)
  decoding.readVarUint(decoder)
  const inner = decoding.createDecoder(decoding.readVarUint8Array(decoder))
  return decoding.readVarUint(inner)
}

export class Client extends Watched {
  /**
   * `doc`: an existing document (a loaded sub-document), else a fresh one. `awareness: null` starts without presence, so that
   * the provider says nothing of its own accord.
   */
  constructor ({ name, version, url, room, doc, clientId, gc = true, awareness, connect = true, resyncInterval = -1, maxBackoffTime = 300, params = {}, protocols = [] }) {
    const Provider = PROVIDERS[version]
    if (Provider === undefined) throw new Error(`no such y-websocket version: ${version}`)
    super({ name, version, doc: doc ?? new Y.Doc({ gc }) })
    this.ownsDoc = doc === undefined
    if (clientId !== undefined) this.doc.clientID = clientId
    this.ackCount = 0
    this.acksWaiting = new Map()
    const intercept = bytes => {
      if (bytes[0] !== ACK) return false
      this.acked(bytes)
      return true
    }
    this.provider = new Provider(url, room, this.doc, {
      connect: false,
      disableBc: true,
      WebSocketPolyfill: watchedSocket(this, frameKind, intercept),
      resyncInterval,
      maxBackoffTime,
      params,
      protocols
    })
    this.room = room
    this.awareness = this.provider.awareness
    this.awareness.on('update', notify)
    if (awareness !== undefined) this.awareness.setLocalState(awareness)
    for (const event of ['status', 'sync']) this.provider.on(event, notify)
    if (connect) this.provider.connect()
  }

  get isOpen () {
    return this.provider.ws !== null && this.provider.ws.readyState === WebSocket.OPEN
  }

  get isSynced () {
    return this.provider.synced
  }

  /** Asks for an ack of all sent so far; resolves when the echo is here, rejects when the socket closes first. */
  ack () {
    if (!this.isOpen) return Promise.reject(new Error(`${this.name}: not connected, cannot ask for an ack`))
    const number = ++this.ackCount
    return new Promise((resolve, reject) => {
      this.acksWaiting.set(number, { socket: this.provider.ws, resolve, reject })
      this.provider.ws.send(ackMessage(number))
    })
  }

  acked (bytes) {
    const number = ackNumber(bytes)
    const expected = ackMessage(number)
    const waiting = this.acksWaiting.get(number)
    if (waiting === undefined) throw new Error(`${this.name}: ack ${number} was never asked for, or came twice`)
    if (Buffer.compare(Buffer.from(bytes), Buffer.from(expected)) !== 0) throw new Error(`${this.name}: ack ${number} differs from its request`)
    this.acksWaiting.delete(number)
    waiting.resolve(number)
    notify()
  }

  /** Nobody can answer what was asked on a socket that has closed. */
  socketClosed (socket) {
    for (const [number, waiting] of this.acksWaiting) {
      if (waiting.socket !== socket) continue
      this.acksWaiting.delete(number)
      waiting.reject(new Error(`${this.name}: the socket closed before ack ${number} came`))
    }
  }

  disconnect () { this.provider.disconnect() }
  reconnect () { this.provider.connect() }

  /** Whether it has let go of its socket. */
  get isGone () { return this.provider.ws === null }

  /** The line is cut: no close frame, no goodbye. With `stay` the client does not come back by itself. */
  cut (stay) {
    const ws = this.provider.ws
    if (stay) this.provider.shouldConnect = false
    if (ws === null) return false
    cutLine(ws)
    return true
  }

  destroy () {
    this.provider.destroy()
    this.awareness.destroy()
    if (this.ownsDoc) this.doc.destroy()
  }

  /** For error messages. */
  describe () {
    const { provider } = this
    return {
      name: this.name,
      version: this.version,
      connected: provider.wsconnected,
      synced: provider.synced,
      shouldConnect: provider.shouldConnect,
      opens: this.opens,
      closes: this.closes.slice(-5),
      stateVector: Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(this.doc))),
      pending: this.doc.store.pendingStructs !== null || this.doc.store.pendingDs !== null,
      traffic: this.traffic
    }
  }
}
