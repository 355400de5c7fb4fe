// One stock y-websocket provider with its Y.Doc, watched from outside.

import * as Y from 'yjs'
import * as Y14 from '@y/y'
import { WebSocket } from 'ws'
import { WebsocketProvider as V1 } from 'y-websocket-1'
import { WebsocketProvider as V2 } from 'y-websocket-2'
import { WebsocketProvider as V3 } from 'y-websocket-3'
import { WebsocketProvider as V4 } from '@y/websocket'
import { AskingClient, frameKind } from './asking.mjs'
import { cutLine, watchedSocket } from './socket.mjs'

/** By version: the provider, and the Yjs that it is made for. */
const PROVIDERS = { '1.5.4': [V1, Y], '2.1.0': [V2, Y], '3.1.0': [V3, Y], '4.0.0-3': [V4, Y14] }

export class Client extends AskingClient {
  /** `awareness: null` starts without presence, so that the provider says nothing of its own accord. */
  constructor ({ url, room, awareness, connect = true, resyncInterval = -1, maxBackoffTime = 300, params = {}, protocols = [], ...options }) {
    if (PROVIDERS[options.version] === undefined) throw new Error(`no such y-websocket version: ${options.version}`)
    const [Provider, Yjs] = PROVIDERS[options.version]
    super({ ...options, Yjs })
    const provider = new Provider(url, room, this.doc, {
      connect: false,
      disableBc: true,
      WebSocketPolyfill: watchedSocket(this, frameKind, { intercept: bytes => this.intercept(bytes) }),
      resyncInterval,
      maxBackoffTime,
      params,
      protocols
    })
    this.adopt(provider, room, awareness, ['status', 'sync'])
    if (connect) provider.connect()
  }

  get isOpen () {
    return this.provider.ws !== null && this.provider.ws.readyState === WebSocket.OPEN
  }

  get isSynced () {
    return this.provider.synced
  }

  disconnect () { this.provider.disconnect() }
  reconnect () { this.provider.connect() }

  /** Whether it has let go of its socket. */
  get isGone () { return this.provider.ws === null }

  /** Once its socket has closed, it does not come back by itself. */
  stayAway () { this.provider.shouldConnect = false }

  /** The line is cut: no close frame, no goodbye. With `stay` the client does not come back by itself. */
  cut (stay) {
    const ws = this.provider.ws
    if (stay) this.stayAway()
    if (ws === null) return false
    cutLine(ws)
    return true
  }

  destroy () {
    this.provider.destroy()
    this.awareness.destroy()
    if (this.ownsDoc) this.doc.destroy()
  }

  describe () {
    const { wsconnected, synced, shouldConnect } = this.provider
    return { ...super.describe(), connected: wsconnected, synced, shouldConnect }
  }
}
