// One stock y-sweet provider with its Y.Doc, watched from outside as `Client` is, and y-sweet's SDK.
//
// The package is used as it is; what it expects of a browser is a WebSocket class, which it lets itself be given. Nothing
// reaches its IndexedDB, which is off unless asked for.

import * as Y from 'yjs'
import { YSweetProvider } from '@y-sweet/client'
import { DocumentManager } from '@y-sweet/sdk'
import { WebSocket } from 'ws'
import { ackMessage, ackNumber, countFrame } from './client.mjs'
import { noTraffic } from './socket.mjs'
import { notify } from './wait.mjs'

export const YSWEET = 'y-sweet 0.9.1'
const ACK = 102
/** Acks that the driver asks for carry numbers from here; the provider's own count its edits. */
const DRIVERS_ACKS = 2 ** 40
/** Nobody listens here: where a client finds itself while it is away. */
const NOWHERE = 'ws://127.0.0.1:9/'

const watchedSocket = client =>
  class WatchedSocket extends WebSocket {
    constructor (url) {
      super(client.away ? NOWHERE : url)
      client.connects++
      client.urls.push(String(url))
      this.on('open', () => {
        client.opens++
        notify()
      })
      this.on('close', (code, reason) => {
        client.closes.push({ code, reason: reason.toString() })
        client.failAcks(this)
        notify()
      })
    }

    send (data, ...rest) {
      if (this.readyState === WebSocket.OPEN) countFrame(client.traffic, 'out', new Uint8Array(data))
      super.send(data, ...rest)
    }

    emit (name, ...args) {
      if (name === 'unexpected-response') client.statuses.push(args[1].statusCode)
      if (name === 'message') {
        if (!args[1]) client.textFrames++
        const bytes = new Uint8Array(args[0])
        if (bytes[0] === ACK && ackNumber(bytes) >= DRIVERS_ACKS) {
          client.acked(ackNumber(bytes))
          return true
        }
        countFrame(client.traffic, 'in', bytes)
        notify()
      }
      return super.emit(name, ...args)
    }
  }

export class YSweetClient {
  /**
   * `tokens`: client tokens to be handed out one after the other, the last one for ever; without them the SDK is asked for
   * one whenever the provider wants one, by the connection string `manager`.
   */
  constructor ({ name, version, url, room, doc, clientId, gc = true, awareness, connect = true, manager, tokens, authorize = {} }) {
    this.name = name
    this.version = version
    this.ownsDoc = doc === undefined
    this.doc = doc ?? new Y.Doc({ gc })
    if (clientId !== undefined) this.doc.clientID = clientId
    this.manager = new DocumentManager(manager ?? url.replace(/^ws/, 'ys'))
    this.room = room
    this.traffic = noTraffic()
    this.away = false
    this.connects = 0
    this.opens = 0
    this.urls = []
    this.statuses = []
    this.closes = []
    this.textFrames = 0
    this.tokensFetched = 0
    this.ackCount = DRIVERS_ACKS
    this.acksWaiting = new Map()
    this.storm = null
    this.localChanges = []
    this.doc.on('afterTransaction', notify)
    const endpoint = async () => {
      const fetched = this.tokensFetched++
      notify()
      if (tokens !== undefined) return tokens[Math.min(fetched, tokens.length - 1)]
      return this.manager.getOrCreateDocAndToken(room, authorize)
    }
    this.provider = new YSweetProvider(endpoint, room, this.doc, {
      connect: false,
      WebSocketPolyfill: watchedSocket(this),
      showDebuggerLink: false
    })
    // What the driver calls it; y-sweet's has no such name.
    this.provider.roomname = room
    this.awareness = this.provider.awareness
    this.awareness.on('update', notify)
    if (awareness !== undefined) this.awareness.setLocalState(awareness)
    this.provider.on('connection-status', notify)
    this.provider.on('local-changes', has => {
      this.localChanges.push(has)
      notify()
    })
    if (connect) this.provider.connect()
  }

  get text () { return this.doc.getText('text') }
  get map () { return this.doc.getMap('map') }
  get array () { return this.doc.getArray('array') }
  get xml () { return this.doc.getXmlFragment('xml') }

  takeTraffic () {
    const taken = this.traffic
    this.traffic = noTraffic()
    return taken
  }

  get isOpen () {
    return this.provider.websocket?.readyState === WebSocket.OPEN
  }

  /** As `Client.ack`. */
  ack () {
    if (!this.isOpen) return Promise.reject(new Error(`${this.name}: not connected, cannot ask for an ack`))
    const number = ++this.ackCount
    return new Promise((resolve, reject) => {
      this.acksWaiting.set(number, { socket: this.provider.websocket, resolve, reject })
      this.provider.websocket.send(ackMessage(number))
    })
  }

  acked (number) {
    const waiting = this.acksWaiting.get(number)
    if (waiting === undefined) throw new Error(`${this.name}: ack ${number} was never asked for, or came twice`)
    this.acksWaiting.delete(number)
    waiting.resolve(number)
    notify()
  }

  failAcks (socket) {
    for (const [number, waiting] of this.acksWaiting) {
      if (waiting.socket !== socket) continue
      this.acksWaiting.delete(number)
      waiting.reject(new Error(`${this.name}: the socket closed before ack ${number} came`))
    }
  }

  /** The line is cut. The provider comes back by itself; with `stay` it finds nobody until `reconnect`. */
  cut (stay) {
    const ws = this.provider.websocket
    if (stay) this.away = true
    if (ws === null) return false
    if (ws._socket) ws._socket.destroy()
    else ws.terminate()
    return true
  }

  get isSynced () { return this.provider.synced }

  get isGone () { return this.away && !this.isOpen }

  /** There is no way to have this provider stay away: `disconnect()` closes its socket, upon which it comes back. */
  disconnect () { this.cut(true) }

  /** As a browser says that it is online again. */
  reconnect () {
    this.away = false
    if (this.provider.status === 'offline') this.provider.connect()
    else this.provider.online()
  }

  /** A page that is left takes its provider with it; `destroy` alone has it come back when its socket has closed. */
  destroy () {
    this.away = true
    const ws = this.provider.websocket
    if (ws !== null) {
      ws.onclose = null
      ws.onerror = () => {}
    }
    this.provider.setStatus('offline')
    this.provider.destroy()
    this.awareness.destroy()
    if (this.ownsDoc) this.doc.destroy()
  }

  describe () {
    const { provider } = this
    return {
      name: this.name,
      version: this.version,
      status: provider.status,
      localVersion: provider.localVersion,
      ackedVersion: provider.ackedVersion,
      opens: this.opens,
      connects: this.connects,
      statuses: this.statuses.slice(-5),
      closes: this.closes.slice(-5),
      tokensFetched: this.tokensFetched,
      stateVector: Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(this.doc))),
      pending: this.doc.store.pendingStructs !== null || this.doc.store.pendingDs !== null,
      traffic: this.traffic
    }
  }
}

/** One call of the SDK's `DocumentManager`, by the connection string. `{ bytes }` among `args` is base64. */
export const sdk = (manager, method, args) => {
  const values = args.map(arg => typeof arg?.bytes === 'string' ? new Uint8Array(Buffer.from(arg.bytes, 'base64')) : arg)
  return new DocumentManager(manager)[method](...values)
}
