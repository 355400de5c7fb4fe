// Clients whose protocol is y-websocket's: what their frames are, and acks (message 102), which a test can ask for on the
// provider's own socket whether or not the provider knows of them.

import * as encoding from 'lib0/encoding'
import * as decoding from 'lib0/decoding'
import { Watched } from './socket.mjs'
import { notify } from './wait.mjs'

const ACK = 102
const MESSAGE_NAMES = ['sync', 'awareness', 'auth', 'queryAwareness']
const SYNC_NAMES = ['step1', 'step2', 'update']

/** What a frame is, for counting: step1, step2, update, awareness, auth, queryAwareness, or other. */
export const frameKind = bytes =>
  bytes[0] === 0 ? (SYNC_NAMES[bytes[1]] ?? 'other') : (MESSAGE_NAMES[bytes[0]] ?? 'other')

/** The 102 message carrying `number`. */
const ackMessage = number => {
  const inner = encoding.createEncoder()
  encoding.writeVarUint(inner, number)
  const outer = encoding.createEncoder()
  encoding.writeVarUint(outer, ACK)
  encoding.writeVarUint8Array(outer, encoding.toUint8Array(inner))
  return encoding.toUint8Array(outer)
}

/** The number that a 102 message carries. */
const ackNumber = bytes => {
  const decoder = decoding.createDecoder(bytes)
  decoding.readVarUint(decoder)
  const inner = decoding.createDecoder(decoding.readVarUint8Array(decoder))
  return decoding.readVarUint(inner)
}

export class AskingClient extends Watched {
  /** Acks up to the number `providersAcks` are for the provider. */
  constructor ({ providersAcks = 0, ...options }) {
    super(options)
    this.providersAcks = providersAcks
    this.ackCount = providersAcks
    this.acksWaiting = new Map()
  }

  /** Asks for an ack of all sent so far; resolves when the echo is here, rejects when the socket closes first. */
  ack () {
    if (!this.isOpen) return Promise.reject(new Error(`${this.name}: not connected, cannot ask for an ack`))
    const number = ++this.ackCount
    return new Promise((resolve, reject) => {
      this.acksWaiting.set(number, { socket: this.socket, resolve, reject })
      this.socket.send(ackMessage(number))
    })
  }

  /** Keeps what the driver has asked for from the provider. */
  intercept (bytes) {
    if (bytes[0] !== ACK) return false
    const number = ackNumber(bytes)
    if (number <= this.providersAcks) return false
    const waiting = this.acksWaiting.get(number)
    if (waiting === undefined) throw new Error(`${this.name}: ack ${number} was never asked for, or came twice`)
    if (Buffer.compare(bytes, ackMessage(number)) !== 0) throw new Error(`${this.name}: ack ${number} differs from its request`)
    this.acksWaiting.delete(number)
    waiting.resolve(number)
    notify()
    return true
  }

  /** Nobody can answer what was asked on a socket that has closed. */
  socketClosed (socket) {
    for (const [number, waiting] of this.acksWaiting) {
      if (waiting.socket !== socket) continue
      this.acksWaiting.delete(number)
      waiting.reject(new Error(`${this.name}: the socket closed before ack ${number} came`))
    }
  }
}
