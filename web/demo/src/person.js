// Who is who: a name that the browser remembers, a colour that the tab remembers, and what others say about themselves.

/** Each is dark enough for white text on it (WCAG AA, 4.5 to 1). */
export const COLOURS = ['#1f5fbf', '#b3261e', '#1b6e3c', '#6b3fc4', '#a8246f', '#00696e', '#8a4b00', '#5a6200']

export const NAME_LENGTH_MAX = 32

const MOODS = ['Quiet', 'Swift', 'Merry', 'Patient', 'Bright', 'Gentle', 'Curious', 'Steady']
const ANIMALS = ['Otter', 'Heron', 'Lynx', 'Wren', 'Badger', 'Hare', 'Finch', 'Marten']

const pick = list => list[Math.floor(Math.random() * list.length)]

// Storage may be forbidden; then every visit is the first.
const remembered = (storage, key) => {
  try {
    return storage()[key]
  } catch {
    return undefined
  }
}

const remember = (storage, key, value) => {
  try {
    storage()[key] = value
  } catch {}
}

const local = () => window.localStorage
const tab = () => window.sessionStorage

/** Whoever sits here. */
export const me = () => {
  const name = remembered(local, 'weft-name') || `${pick(MOODS)} ${pick(ANIMALS)}`
  remember(local, 'weft-name', name)
  return { name, color: colourOf(remembered(tab, 'weft-colour')) ?? pick(COLOURS) }
}

export const keep = ({ name, color }) => {
  remember(local, 'weft-name', name)
  remember(tab, 'weft-colour', color)
}

/** One of the colours, if it is one: what peers send is shown only after it is known to be harmless and readable. */
export const colourOf = colour => COLOURS.includes(colour) ? colour : undefined

/** A name as it may be shown, whatever a peer says. */
export const nameOf = name => (typeof name === 'string' && name.trim().slice(0, NAME_LENGTH_MAX)) || 'Somebody'

/** A colour that few of `others` have. */
export const rarest = others => {
  const uses = COLOURS.map(colour => others.filter(other => other === colour).length)
  const free = COLOURS.filter((_, at) => uses[at] === Math.min(...uses))
  return pick(free)
}

export const initialsOf = name => {
  const words = name.split(/\s+/).filter(Boolean)
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0] ?? '?']
  return letters.map(word => [...word][0]).join('').toUpperCase()
}
