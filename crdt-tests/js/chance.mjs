// Seeded chance: the same seed makes the same edits.

import * as Y from 'yjs'

/** How often an edit splits a surrogate pair. */
const SPLITS = 0.03

/** mulberry32 */
export const chance = seed => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = n => Math.floor(next() * n)
  return { next, below, pick: list => list[below(list.length)], sometimes: p => next() < p }
}

const WORDS = ['weft', 'warp', 'loom', 'wool', ' ', '\n', 'ä', '纬线', '🧶', 'e\u0301', '"', '\\', '<b>', '\u0000', '\u2028']

const word = rng => rng.pick(WORDS) + (rng.sometimes(0.5) ? String(rng.below(1000)) : '')

const any = rng =>
  rng.pick([
    () => rng.below(2 ** 31) - 2 ** 30,
    () => rng.next() * 1e6,
    () => -0.5,
    () => 2 ** 40 + rng.below(1000),
    () => word(rng),
    () => rng.sometimes(0.5),
    () => null,
    () => ({ a: rng.below(10), b: [word(rng), null, { c: true }] }),
    () => [rng.below(300), word(rng)],
    () => new Uint8Array([rng.below(256), 0, 255])
  ])()

const nested = (rng, depth) => {
  if (rng.sometimes(0.15)) return new Y.Doc({ guid: `sub-${rng.below(2 ** 31)}`, meta: any(rng) })
  const kind = rng.below(depth > 3 ? 1 : 3)
  if (kind === 0) {
    const text = new Y.Text()
    text.insert(0, word(rng))
    return text
  }
  if (kind === 1) {
    const map = new Y.Map()
    map.set(rng.pick('abc'.split('')), rng.sometimes(0.4) ? nested(rng, depth + 1) : any(rng))
    return map
  }
  const array = new Y.Array()
  array.push([any(rng), rng.sometimes(0.4) ? nested(rng, depth + 1) : any(rng)])
  return array
}

// A position that rarely splits a surrogate pair: no cursor does, but bindings that compare texts by UTF-16 units do.
const position = (rng, string) => {
  let at = rng.below(string.length + 1)
  if (rng.sometimes(SPLITS)) return at
  if (at > 0 && at < string.length && /[\udc00-\udfff]/.test(string[at]) && /[\ud800-\udbff]/.test(string[at - 1])) at--
  return at
}

const editText = (rng, text) => {
  const string = flat(text)
  const from = position(rng, string)
  const dice = rng.next()
  if (string.length === 0 || dice < 0.55) {
    text.insert(from, word(rng), rng.sometimes(0.2) ? { [rng.pick(['bold', 'italic'])]: rng.sometimes(0.7) ? true : null } : undefined)
  } else if (dice < 0.6) {
    text.insertEmbed(from, { image: word(rng) })
  } else {
    const to = position(rng, string)
    const [start, length] = [Math.min(from, to), Math.min(Math.abs(to - from), 12)]
    const end = boundary(string, start + length)
    if (end === start) return
    if (dice < 0.85) text.delete(start, end - start)
    else text.format(start, end - start, { [rng.pick(['bold', 'color'])]: rng.pick([true, null, 'red']) })
  }
}

const boundary = (string, at) =>
  at > 0 && at < string.length && /[\udc00-\udfff]/.test(string[at]) && /[\ud800-\udbff]/.test(string[at - 1]) ? at - 1 : at

// Text with one placeholder per embed, so that indexes agree with Y.Text's.
const flat = text => text.toDelta().map(op => (typeof op.insert === 'string' ? op.insert : '\ufffc')).join('')

const editArray = (rng, array, depth = 0) => {
  const dice = rng.next()
  if (array.length === 0 || dice < 0.5) {
    array.insert(rng.below(array.length + 1), rng.sometimes(0.25) ? [nested(rng, depth)] : Array.from({ length: 1 + rng.below(3) }, () => any(rng)))
  } else if (dice < 0.75) {
    const at = rng.below(array.length)
    array.delete(at, Math.min(1 + rng.below(3), array.length - at))
  } else {
    editNested(rng, array.get(rng.below(array.length)), depth)
  }
}

const editMap = (rng, map, depth = 0) => {
  const key = rng.pick('abcdefgh'.split(''))
  const dice = rng.next()
  if (dice < 0.6) map.set(key, rng.sometimes(0.25) ? nested(rng, depth) : any(rng))
  else if (dice < 0.75) map.delete(key)
  else editNested(rng, map.get(key), depth)
}

const editNested = (rng, value, depth) => {
  if (value instanceof Y.Text) editText(rng, value)
  else if (value instanceof Y.Array) editArray(rng, value, depth + 1)
  else if (value instanceof Y.Map) editMap(rng, value, depth + 1)
}

const editXml = (rng, fragment, depth = 0) => {
  const dice = rng.next()
  if (fragment.length === 0 || dice < 0.4) {
    const node = rng.sometimes(0.5) ? new Y.XmlElement(rng.pick(['p', 'h1', 'li'])) : new Y.XmlText(word(rng))
    fragment.insert(rng.below(fragment.length + 1), [node])
  } else if (dice < 0.5) {
    fragment.delete(rng.below(fragment.length), 1)
  } else {
    const node = fragment.get(rng.below(fragment.length))
    if (node instanceof Y.XmlText) editText(rng, node)
    else if (dice < 0.7) node.setAttribute(rng.pick(['class', 'id']), word(rng))
    else if (dice < 0.75) node.removeAttribute('class')
    else if (depth < 4) editXml(rng, node, depth + 1)
  }
}

/** One random edit of one of the four root types, in one transaction; or one taken back, or done again. */
export const edit = (rng, client) => {
  client.undo ??= new Y.UndoManager([client.text, client.map, client.array, client.xml], { captureTimeout: 0 })
  if (rng.sometimes(0.08)) return void client.undo.undo()
  if (rng.sometimes(0.04)) return void client.undo.redo()
  client.doc.transact(() => {
    rng.pick([
      () => (rng.sometimes(0.03) ? client.text.delete(0, client.text.length) : editText(rng, client.text)),
      () => editMap(rng, client.map),
      () => editArray(rng, client.array),
      () => editXml(rng, client.xml)
    ])()
  })
}
