// Is it saved? y-websocket's protocol has no word for it, so the page asks: weft sends message 102 back when everything
// that came before it on the same socket is on disk. Nothing counts as saved before that.

import * as encoding from 'lib0/encoding'
import * as decoding from 'lib0/decoding'

const SYNC = 0
const SYNC_STATUS = 102

const question = number => {
  const inner = encoding.createEncoder()
  encoding.writeVarUint(inner, number)
  const outer = encoding.createEncoder()
  encoding.writeVarUint(outer, SYNC_STATUS)
  encoding.writeVarUint8Array(outer, encoding.toUint8Array(inner))
  return encoding.toUint8Array(outer)
}

const answered = decoder => decoding.readVarUint(decoding.createDecoder(decoding.readVarUint8Array(decoder)))

/**
 * Watches what becomes of the edits made here. `earlier` edits of earlier visits are known to be on this device only;
 * `changed` is called whenever an answer may have changed.
 */
export const watchSaved = (doc, provider, { earlier, changed }) => {
  let made = 0 // edits made here
  let saved = 0 // how many of them, from the first, are on the server's disk
  let asked = null // the question that is under way: { number, made, since }
  let number = 0
  let uploaded = false // on this socket, all that was there when it opened has been sent
  let settled = false // on this socket, all that was sent at first is on disk

  const ask = () => {
    const { ws } = provider
    if (!uploaded || asked !== null || ws?.readyState !== WebSocket.OPEN) return
    asked = { number: ++number, made, since: Date.now() }
    ws.send(question(number))
  }

  const forget = () => {
    asked = null
    uploaded = settled = false
    changed()
  }

  // The provider answers the server's SyncStep1 with all that the server lacks, once its handler has returned.
  const sync = provider.messageHandlers[SYNC]
  provider.messageHandlers[SYNC] = (encoder, ...rest) => {
    sync(encoder, ...rest)
    if (encoding.length(encoder) <= 1) return
    queueMicrotask(() => {
      uploaded = true
      ask()
    })
  }

  provider.messageHandlers[SYNC_STATUS] = (_encoder, decoder) => {
    if (asked === null || answered(decoder) !== asked.number) return
    saved = asked.made
    asked = null
    earlier = 0
    settled = true
    // What was made meanwhile has been sent too; one question covers all of it.
    if (made > saved) ask()
    changed()
  }

  // Registered after the provider's own handler, so the edit is on its way before the question is.
  doc.on('update', (_update, origin) => {
    if (origin === provider) return
    made++
    ask()
    changed()
  })
  provider.on('connection-close', forget)

  return {
    /** Whether all that is known here is on the server's disk. */
    get all () { return settled && saved === made },
    /** Edits that are not known to be. */
    get pending () { return earlier + made - saved },
    /** For how many milliseconds the server has owed an answer. */
    get waited () { return asked === null ? 0 : Date.now() - asked.since }
  }
}
