// The state of things in a few words. Pure: what is known goes in, what is shown comes out.

const edits = n => n === 1 ? '1 edit' : `${n} edits`

/** How long the server may owe an answer before the page says so, milliseconds. */
export const PATIENCE = 4000

/** Why a server sent this client away for good, by close code. */
const REFUSALS = {
  4400: {
    word: 'Refused',
    title: 'The server does not take this',
    text: 'Most likely it is the document’s name: choose another one.'
  },
  4401: {
    word: 'No access',
    title: 'A token is needed',
    text: 'This server serves those who have a token: the command “weft token” makes them. Put one here, or behind # in the address.',
    token: true
  },
  4403: {
    word: 'No access',
    title: 'Not your document',
    text: 'Your token does not open this document. Ask whoever gave it to you for another one.',
    token: true
  },
  4404: {
    word: 'Deleted',
    title: 'This document was deleted',
    text: 'An admin has deleted it for everybody. What you see is the copy on this device.',
    stale: true
  },
  4413: {
    word: 'Refused',
    title: 'An edit was refused',
    text: 'The server will not take something that was written here, most likely because it is too large.',
    stale: true
  }
}
const OTHERWISE = { word: 'Closed', title: 'The server has closed this document', text: 'Load this page to try again.' }

/**
 * What the page says about a refusal. `token`: another one may help. `stale`: the copy on this device is of no more use,
 * since a server that is shown it again would refuse it again.
 */
export const refusalOf = code => ({ token: false, stale: false, ...(REFUSALS[code] ?? OTHERWISE) })

/**
 * `refused`: what `refusalOf` says, if it did. `link`: `first` before the server was ever reached, `up`, `down`, or `away` when the user wants it so.
 * Gives `kind` for the style, `word` for the eye, and `more` for whoever wants to know.
 */
export const statusOf = ({ link, refused, readOnly, all, pending, waited, reason, device }) => {
  const kept = device ? 'kept on this device' : 'kept while this tab is open'
  if (refused) {
    return { kind: 'refused', word: refused.word, more: pending > 0 ? `${edits(pending)} not saved, only ${kept}.` : '' }
  }
  if (link === 'first') return { kind: 'connecting', word: 'Connecting…', more: 'The server has not answered yet.' }
  if (link === 'down' || link === 'away') {
    const word = pending > 0 ? `Offline, ${pending} pending` : 'Offline'
    const why = link === 'away' ? 'You chose to work offline.' : 'The server cannot be reached; trying again.'
    const said = reason ? ` It said: ${reason}.` : ''
    const fate = pending > 0 ? ` ${edits(pending)} ${kept}, and sent when you are back.` : ' You can go on writing.'
    return { kind: 'offline', word, more: why + said + (readOnly ? '' : fate) }
  }
  if (readOnly) return { kind: 'readonly', word: 'Read only', more: 'Your token lets you read this document.' }
  if (all) return { kind: 'saved', word: 'Saved', more: 'Everything you wrote is on the server’s disk.' }
  if (waited > PATIENCE) {
    return { kind: 'saving', word: `Waiting, ${pending} pending`, more: 'The server has not said yet that your edits are on its disk.' }
  }
  return { kind: 'saving', word: 'Saving…', more: 'On its way to the server’s disk.' }
}
