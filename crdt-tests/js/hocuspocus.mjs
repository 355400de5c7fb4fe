// One stock Hocuspocus provider with its Y.Doc, watched from outside; same interface as the y-websocket client's. An ack is
// what the provider itself shows: no unsynced changes. Providers can share a connection.

import * as decoding from 'lib0/decoding'
import { WebSocket } from 'ws'
import * as V2 from 'hocuspocus-2'
import * as V3 from 'hocuspocus-3'
import * as V4 from 'hocuspocus-4'
import { cutLine, watchedSocket, Watched } from './socket.mjs'
import { notify } from './wait.mjs'

const PREFIX = 'hocuspocus-'
const PROVIDERS = { '2.15.3': V2, '3.4.4': V3, '4.8.0': V4 }
const SYNC_NAMES = ['step1', 'step2', 'update']
const AUTH_NAMES = ['token', 'denied', 'granted']
const MESSAGE_NAMES = { 1: 'awareness', 3: 'queryAwareness', 5: 'stateless', 7: 'close' }

export const isHocuspocus = version => version.startsWith(PREFIX)

/** What a frame is, for counting; confirmations are `saved` and `refused`. */
export const frameKind = bytes => {
  if (bytes.length === 1) return { 9: 'ping', 10: 'pong' }[bytes[0]] ?? 'other'
  const decoder = decoding.createDecoder(bytes)
  decoding.readVarString(decoder)
  const type = decoding.readVarUint(decoder)
  if (type === 0) return SYNC_NAMES[decoding.readVarUint(decoder)] ?? 'other'
  if (type === 2) return AUTH_NAMES[decoding.readVarUint(decoder)] ?? 'other'
  if (type === 8) return ['refused', 'saved'][decoding.readVarUint(decoder)] ?? 'other'
  return MESSAGE_NAMES[type] ?? 'other'
}

export class HocuspocusClient extends Watched {
  /**
   * `token` is a string or, by `tokens`, a list of which each question takes the next; it may also come as `params.token`,
   * as for y-websocket. `sharing` is another client whose connection is used.
   */
  constructor ({ url, room, awareness, connect = true, params = {}, token = params.token, tokens, sharing, options = {}, socketOptions = {}, ...watched }) {
    const packages = PROVIDERS[watched.version.slice(PREFIX.length)]
    if (packages === undefined) throw new Error(`no such hocuspocus version: ${watched.version}`)
    super(watched)
    this.events = []
    this.stateless = []
    this.unsyncedSeen = []
    this.sharing = sharing
    this.line = sharing?.line ?? new packages.HocuspocusProviderWebsocket({
      url,
      WebSocketPolyfill: watchedSocket(this, frameKind),
      // Both names of the same option; tests are in a hurry.
      connect: false,
      autoConnect: false,
      delay: 200,
      minDelay: 100,
      maxDelay: 300,
      ...socketOptions
    })
    this.tokens = tokens?.slice()
    const provider = new packages.HocuspocusProvider({
      websocketProvider: this.line,
      name: room,
      document: this.doc,
      token: tokens === undefined ? token ?? null : async () => this.tokens.length > 1 ? this.tokens.shift() : this.tokens[0],
      ...options
    })
    this.adopt(provider, room, awareness, ['status', 'synced', 'open', 'close'])
    const note = (event, details) => {
      this.events.push({ event, ...details })
      notify()
    }
    this.provider.on('authenticated', () => note('authenticated', { scope: this.provider.authorizedScope }))
    this.provider.on('authenticationFailed', ({ reason }) => note('authenticationFailed', { reason }))
    this.provider.on('stateless', ({ payload }) => {
      this.stateless.push(payload)
      notify()
    })
    this.provider.on('unsyncedChanges', () => {
      this.unsyncedSeen.push(this.provider.unsyncedChanges)
      notify()
    })
    // 2.x attaches by itself.
    this.provider.attach?.()
    if (connect && sharing === undefined) this.line.connect()
  }

  get isOpen () {
    return this.line.webSocket?.readyState === WebSocket.OPEN
  }

  get isGone () {
    return this.line.webSocket === null
  }

  get isSynced () {
    return this.provider.isSynced && this.isOpen
  }

  /** What the provider's user sees as "saved". */
  get isSaved () {
    return this.isSynced && this.provider.unsyncedChanges === 0
  }

  reconnect () {
    this.line.connect()
  }

  disconnect () {
    this.line.disconnect()
  }

  /** Resolves when the provider shows all as saved. */
  ack () {
    if (!this.isOpen) return Promise.reject(new Error(`${this.name}: not connected, nothing will be saved`))
    if (this.isSaved) return Promise.resolve()
    const socket = (this.sharing ?? this).socket
    return new Promise((resolve, reject) => {
      const end = (how, value) => {
        this.provider.off('unsyncedChanges', look)
        socket.off('close', closed)
        how(value)
      }
      const look = () => { if (this.isSaved) end(resolve) }
      const closed = () => end(reject, new Error(`${this.name}: the socket closed before all was saved`))
      this.provider.on('unsyncedChanges', look)
      socket.on('close', closed)
    })
  }

  /** Calls back whenever the provider shows its user that all is saved. */
  onSaved (callback) {
    this.provider.on('unsyncedChanges', () => { if (this.isSaved) callback() })
  }

  /** Once its socket has closed, it does not come back by itself. */
  stayAway () { this.line.shouldConnect = false }

  /** The line is cut: no close frame, no goodbye. With `stay` the client does not come back by itself. */
  cut (stay) {
    const ws = this.line.webSocket
    if (stay) this.stayAway()
    if (ws === null) return false
    cutLine(ws)
    return true
  }

  destroy () {
    this.provider.destroy()
    if (this.sharing === undefined) this.line.destroy()
    if (this.ownsDoc) this.doc.destroy()
  }

  describe () {
    const { isSynced, unsyncedChanges } = this.provider
    const { status, shouldConnect } = this.line
    return { ...super.describe(), status, synced: isSynced, unsynced: unsyncedChanges, shouldConnect, events: this.events.slice(-5) }
  }
}
