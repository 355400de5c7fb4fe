// What every driver speaks with its test: one JSON request per line on stdin, one JSON answer per line on stdout,
// {id, op, …} -> {id, ok} or {id, error}. Requests run side by side.

import { createInterface } from 'node:readline'

const answer = (id, body) => process.stdout.write(JSON.stringify({ id, ...body }) + '\n')

/** Answers requests by `operations` until the test has ended, which `ended` is told; `answered` is called after each. */
export const serveRequests = (operations, { answered = () => {}, ended }) => {
  console.log = console.error // stdout belongs to the answers
  const lines = createInterface({ input: process.stdin })
  lines.on('line', async line => {
    const { id, op, ...request } = JSON.parse(line)
    try {
      const operation = operations[op]
      if (operation === undefined) throw new Error(`no such operation: ${op}`)
      answer(id, { ok: (await operation(request)) ?? null })
    } catch (error) {
      answer(id, { error: String(error?.stack ?? error) })
    }
    answered()
  })
  lines.on('close', ended)
}
