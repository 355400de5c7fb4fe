// One stock y-sweet provider with its Y.Doc, watched from outside as `Client` is, and y-sweet's SDK.
//
// The package is used as it is; what it expects of a browser is a WebSocket class, which it lets itself be given. Nothing
// reaches its IndexedDB, which is off unless asked for.

import { YSweetProvider } from '@y-sweet/client'
import { DocumentManager } from '@y-sweet/sdk'
import { WebSocket } from 'ws'
import { AskingClient, frameKind } from './asking.mjs'
import { cutLine, watchedSocket } from './socket.mjs'
import { notify } from './wait.mjs'

export const YSWEET = 'y-sweet 0.9.1'
/** The provider's own acks count its edits; those that the driver asks for carry numbers from here. */
const PROVIDERS_ACKS = 2 ** 40
/** Nobody listens here: where a client finds itself while it is away. */
const NOWHERE = 'ws://127.0.0.1:9/'

export class YSweetClient extends AskingClient {
  /**
   * `tokens`: client tokens to be handed out one after the other, the last one for ever; without them the SDK is asked for
   * one whenever the provider wants one, by the connection string `manager`.
   */
  constructor ({ url, room, awareness, connect = true, manager, tokens, authorize = {}, ...options }) {
    super({ ...options, providersAcks: PROVIDERS_ACKS })
    this.manager = new DocumentManager(manager ?? url.replace(/^ws/, 'ys'))
    this.away = false
    this.tokensFetched = 0
    this.localChanges = []
    const endpoint = async () => {
      const fetched = this.tokensFetched++
      notify()
      if (tokens !== undefined) return tokens[Math.min(fetched, tokens.length - 1)]
      return this.manager.getOrCreateDocAndToken(room, authorize)
    }
    const provider = new YSweetProvider(endpoint, room, this.doc, {
      connect: false,
      WebSocketPolyfill: watchedSocket(this, frameKind, {
        intercept: bytes => this.intercept(bytes),
        destination: url => this.away ? NOWHERE : url
      }),
      showDebuggerLink: false
    })
    // What the driver calls it; y-sweet's has no such name.
    provider.roomname = room
    this.adopt(provider, room, awareness, ['connection-status'])
    provider.on('local-changes', has => {
      this.localChanges.push(has)
      notify()
    })
    if (connect) provider.connect()
  }

  get isOpen () {
    return this.provider.websocket?.readyState === WebSocket.OPEN
  }

  /** Calls back whenever the provider shows its user that all is saved. */
  onSaved (callback) {
    this.provider.on('local-changes', has => { if (!has) callback() })
  }

  /** Once its socket has closed, it finds nobody. */
  stayAway () { this.away = true }

  /** The line is cut. The provider comes back by itself; with `stay` it finds nobody until `reconnect`. */
  cut (stay) {
    const ws = this.provider.websocket
    if (stay) this.stayAway()
    if (ws === null) return false
    cutLine(ws)
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
    const { status, localVersion, ackedVersion } = this.provider
    const { statuses, tokensFetched } = this
    return { ...super.describe(), status, localVersion, ackedVersion, statuses: statuses.slice(-5), tokensFetched }
  }
}

/** One call of the SDK's `DocumentManager`, by the connection string. `{ bytes }` among `args` is base64. */
export const sdk = (manager, method, args) => {
  const values = args.map(arg => typeof arg?.bytes === 'string' ? new Uint8Array(Buffer.from(arg.bytes, 'base64')) : arg)
  return new DocumentManager(manager)[method](...values)
}
