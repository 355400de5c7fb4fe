// The WebSocket under a stock client, watched: frames and bytes are counted by kind, opens and closes noted.

import { WebSocket } from 'ws'
import { notify } from './wait.mjs'

// `resyncInterval` of every y-websocket version reads the browser's global.
globalThis.WebSocket ??= WebSocket

export const noTraffic = () => ({ inFrames: 0, inBytes: 0, outFrames: 0, outBytes: 0, inKinds: {}, outKinds: {} })

/** Counts a frame. */
export const count = (traffic, direction, bytes, kind) => {
  traffic[`${direction}Frames`]++
  traffic[`${direction}Bytes`] += bytes.byteLength
  const kinds = traffic[`${direction}Kinds`]
  kinds[kind] = (kinds[kind] ?? 0) + 1
}

/**
 * The WebSocket class given to the provider of `client`. `kindOf` names a frame; `intercept` keeps frames from the provider
 * for which it returns true.
 */
export const watchedSocket = (client, kindOf, intercept = () => false) =>
  class WatchedSocket extends WebSocket {
    constructor (url, protocols) {
      super(url, protocols)
      client.socket = this
      this.on('open', () => {
        client.opens++
        notify()
      })
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
  constructor ({ name, version, doc }) {
    this.name = name
    this.version = version
    this.doc = doc
    this.traffic = noTraffic()
    this.opens = 0
    this.closes = []
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

  /** Traffic since the last reset. */
  takeTraffic () {
    const taken = this.traffic
    this.traffic = noTraffic()
    return taken
  }
}

/** Ends a line: no close frame, no goodbye. */
export const cutLine = ws => {
  if (ws._socket) ws._socket.destroy()
  else ws.terminate()
}
