// The state of things in a few words. Pure: what is known goes in, what is shown comes out.

const edits = n => n === 1 ? '1 edit' : `${n} edits`

/** How long the server may owe an answer before the page says so, milliseconds. */
export const PATIENCE = 4000

/** Why a server sent this client away for good, by close code. */
const REFUSALS = {
  4400: ['This name is not possible', 'The server does not take this document name. Choose another one.'],
  4401: ['A token is needed', 'This server only serves those who have a token. Add a good one to the address, as #token=…'],
  4403: ['Not your document', 'Your token does not open this document. Ask whoever gave it to you.'],
  4404: ['This document was deleted', 'An admin has deleted it for everybody. What you see is the copy on this device.'],
  4413: ['An edit was refused', 'The server will not take something in this document, most likely because it is too large.']
}

/** What the banner says about a refusal; `said` is the server's own word for it. */
export const refusalOf = (code, said) => {
  const [title, text] = REFUSALS[code] ?? ['The server has closed this document', 'Load this page again to try once more.']
  return { title, text: said ? `${text} (The server said: ${said})` : text }
}

/**
 * `link`: `first` before the server was ever reached, `up`, `down`, or `away` when the user wants it so.
 * Gives `kind` for the style, `word` for the eye, and `more` for whoever wants to know.
 */
export const statusOf = ({ link, refused, readOnly, all, pending, waited, reason, device }) => {
  const kept = device ? 'on this device' : 'in this tab only; keep it open'
  if (refused) {
    return { kind: 'refused', word: 'No access', more: pending > 0 ? `${edits(pending)} not saved, ${kept}.` : '' }
  }
  if (link === 'first') return { kind: 'connecting', word: 'Connecting…', more: 'The server has not answered yet.' }
  if (link === 'down' || link === 'away') {
    const word = pending > 0 ? `Offline, ${edits(pending)} pending` : 'Offline'
    const why = link === 'away' ? 'You chose to work offline.' : 'The server cannot be reached; trying again.'
    const said = reason ? ` It said: ${reason}.` : ''
    const fate = pending > 0 ? ` Your edits are kept ${kept}, and sent when you are back.` : ' You can go on writing.'
    return { kind: 'offline', word, more: why + said + (readOnly ? '' : fate) }
  }
  if (readOnly) return { kind: 'readonly', word: 'Read only', more: 'Your token lets you read this document.' }
  if (all) return { kind: 'saved', word: 'Saved', more: 'Everything you wrote is on the server’s disk.' }
  if (waited > PATIENCE) {
    return { kind: 'saving', word: `Waiting, ${edits(pending)} pending`, more: 'The server has not confirmed them yet.' }
  }
  return { kind: 'saving', word: 'Saving…', more: 'On its way to the server’s disk.' }
}
