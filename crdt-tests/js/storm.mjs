// A client that edits without pause and keeps account: which of its edits were acked, or shown to its user as saved.

const EDITS_PER_TURN = 4
const turn = () => new Promise(resolve => setImmediate(resolve))

/**
 * Pushes the tokens `prefix-1`, `prefix-2`, … until stopped or until the socket closes, with at most `window` unanswered. A
 * provider that knows what is saved is believed; for others an ack is asked for after each. The account: `sent` and `acked`
 * are the last token pushed and the last one acked.
 */
export const startStorm = (client, { prefix, window = 32 }) => {
  const storm = { sent: 0, acked: 0, stopped: false, done: null }
  client.storm = storm
  client.onSaved?.(() => { storm.acked = storm.sent })
  const run = async () => {
    while (!storm.stopped && client.isOpen) {
      for (let i = 0; i < EDITS_PER_TURN && storm.sent - storm.acked < window && client.isOpen; i++) {
        const token = ++storm.sent
        client.doc.transact(() => {
          client.array.push([`${prefix}-${token}`])
          client.text.insert(client.text.length >> 1, `${token % 10}`)
        })
        if (client.onSaved === undefined) client.ack().then(() => { storm.acked = Math.max(storm.acked, token) }, () => {})
      }
      await turn()
    }
  }
  storm.done = run()
  return storm
}
