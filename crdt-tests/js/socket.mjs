// What lies under every stock client, watched: its WebSocket, of which frames and bytes are counted by kind, opens and
// closes noted, and its document.

import * as Y from 'yjs'
import { WebSocket } from 'ws'
import { isPending, load } from './content.mjs'
import { notify } from './wait.mjs'

// `resyncInterval` of every y-websocket version reads the browser's global.
globalThis.WebSocket ??= WebSocket

const noTraffic = () => ({ inFrames: 0, inBytes: 0, outFrames: 0, outBytes: 0, inKinds: {}, outKinds: {} })

/** Counts a frame. */
const count = (traffic, direction, bytes, kind) => {
  traffic[`${direction}Frames`]++
  traffic[`${direction}Bytes`] += bytes.byteLength
  const kinds = traffic[`${direction}Kinds`]
  kinds[kind] = (kinds[kind] ?? 0) + 1
}

/**
 * The WebSocket class given to the provider of `client`. `kindOf` names a frame; `intercept` keeps frames from the provider
 * for which it returns true; `destination` says where an address leads.
 */
export const watchedSocket = (client, kindOf, { intercept = () => false, destination = url => url } = {}) =>
  class WatchedSocket extends WebSocket {
    constructor (url, protocols) {
      super(destination(url), protocols)
      client.socket = this
      client.connects++
      this.on('open', () => {
        client.opens++
        notify()
      })
      // In a browser nobody need hear of it; here it would end the process when a provider drops a socket that is not open yet.
      this.on('error', () => {})
      this.on('close', (code, reason) => {
        client.closes.push({ code, reason: reason.toString() })
        client.socketClosed(this)
        notify()
      })
    }

    send (data, ...rest) {
      const bytes = new Uint8Array(data)
      if (this.readyState === WebSocket.OPEN) count(client.traffic, 'out', bytes, kindOf(bytes))
      super.send(data, ...rest)
    }

    emit (name, ...args) {
      if (name === 'unexpected-response') client.statuses.push(args[1].statusCode)
      if (name === 'message') {
        if (!args[1]) {
          client.textFrames++
        } else {
          const bytes = new Uint8Array(args[0])
          if (intercept(bytes)) return true
          count(client.traffic, 'in', bytes, kindOf(bytes))
        }
        notify()
      }
      return super.emit(name, ...args)
    }
  }

/** What clients of every kind have: a document, counters, and a place in error messages. */
export class Watched {
  /** `doc`: an existing document (a loaded sub-document), else a fresh one of the Yjs that the provider is made for. */
  constructor ({ name, version, doc, clientId, gc = true, Yjs = Y }) {
    this.name = name
    this.version = version
    this.Y = Yjs
    this.ownsDoc = doc === undefined
    this.doc = doc ?? new Yjs.Doc({ gc })
    if (clientId !== undefined) this.doc.clientID = clientId
    this.traffic = noTraffic()
    this.connects = 0
    this.opens = 0
    this.closes = []
    this.statuses = []
    this.textFrames = 0
    this.socket = null
    this.storm = null
    this.doc.on('afterTransaction', notify)
    this.doc.on('subdocs', notify)
  }

  get text () { return this.doc.getText('text') }
  get map () { return this.doc.getMap('map') }
  get array () { return this.doc.getArray('array') }
  get xml () { return this.doc.getXmlFragment('xml') }

  /** Its document as Yjs 13 reads it, the measure for all. */
  read () {
    return this.Y === Y ? this.doc : load(this.Y.encodeStateAsUpdate(this.doc))
  }

  /** Traffic since the last reset. */
  takeTraffic () {
    const taken = this.traffic
    this.traffic = noTraffic()
    return taken
  }

  /** A socket has closed. */
  socketClosed () {}

  /** Takes its provider up, with the presence that the test wants it to begin with. */
  adopt (provider, room, awareness, events) {
    this.provider = provider
    this.room = room
    this.awareness = provider.awareness
    this.awareness?.on('update', notify)
    if (awareness !== undefined) this.awareness.setLocalState(awareness)
    for (const event of events) provider.on(event, notify)
  }

  /** For error messages. */
  describe () {
    return {
      name: this.name,
      version: this.version,
      opens: this.opens,
      connects: this.connects,
      closes: this.closes.slice(-5),
      stateVector: Object.fromEntries(this.Y.decodeStateVector(this.Y.encodeStateVector(this.doc))),
      pending: isPending(this.doc),
      traffic: this.traffic
    }
  }
}

/** Ends a line: no close frame, no goodbye. */
export const cutLine = ws => {
  if (ws._socket) ws._socket.destroy()
  else ws.terminate()
}
