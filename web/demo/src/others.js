// What others say of themselves, made fit to be shown. Presence is whatever a peer sends: the editor's caret plugin takes
// it on trust, and one malformed cursor would end every later update of the page.

import { colourOf, nameOf } from './person.js'

/** For those whose colour is none of ours. */
const NO_COLOUR = '#5a5e62'

const isCount = value => Number.isSafeInteger(value) && value >= 0
const isAbsent = value => value === undefined || value === null
const isId = value => typeof value === 'object' && value !== null && isCount(value.client) && isCount(value.clock)

/** Whether this is a Yjs relative position in the fragment of that name, in JSON. */
const isPosition = (value, field) => {
  if (typeof value !== 'object' || value === null) return false
  const { type, tname, item, assoc } = value
  const somewhere = [type, tname, item].some(part => !isAbsent(part))
  return somewhere && [type, item].every(part => isAbsent(part) || isId(part)) &&
    (isAbsent(tname) || tname === field) && (isAbsent(assoc) || Number.isSafeInteger(assoc))
}

const cursorOf = (cursor, field) => {
  const good = isPosition(cursor?.anchor, field) && isPosition(cursor?.head, field)
  return good ? { anchor: cursor.anchor, head: cursor.head } : null
}

/** The same awareness, except that everybody in it has a name, one of our colours, and a cursor only if it is one. */
export const fitToShow = (awareness, field) => {
  const shown = Object.create(awareness)
  shown.getStates = () => {
    const states = new Map()
    for (const [id, state] of awareness.getStates()) {
      if (isAbsent(state?.user)) continue
      const user = { name: nameOf(state.user.name), color: colourOf(state.user.color) ?? NO_COLOUR }
      states.set(id, { user, cursor: cursorOf(state.cursor, field) })
    }
    return states
  }
  return shown
}
