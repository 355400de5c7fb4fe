// What a document holds, in forms that can be compared: JSON of its shared types, and a fingerprint of its replica state.

import * as Y from 'yjs'

/** The root types that every test document uses, so that a fresh one reads them with the right kind. */
export const declareRoots = doc => {
  doc.getText('text')
  doc.getMap('map')
  doc.getArray('array')
  doc.getXmlFragment('xml')
}

const sorted = object => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)))

/** Any value of a shared type, as JSON that loses nothing: formats, attributes, kinds, bytes, sub-documents. */
export const dump = value => {
  if (value instanceof Y.XmlText) return { xmlText: delta(value) }
  if (value instanceof Y.Text) return { text: delta(value) }
  if (value instanceof Y.XmlElement) {
    const attributes = Object.fromEntries(Object.entries(value.getAttributes()).map(([key, item]) => [key, dump(item)]))
    return { element: value.nodeName, attributes: sorted(attributes), children: value.toArray().map(dump) }
  }
  if (value instanceof Y.XmlFragment) return { fragment: value.toArray().map(dump) }
  if (value instanceof Y.Map) return { map: sorted(Object.fromEntries([...value.entries()].map(([key, item]) => [key, dump(item)]))) }
  if (value instanceof Y.Array) return { array: value.toArray().map(dump) }
  if (value instanceof Y.AbstractType) return undeclared(value)
  if (value instanceof Y.Doc) return { subdocument: value.guid }
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('base64') }
  if (typeof value === 'bigint') return { bigint: value.toString() }
  if (value === undefined) return { undefined: true }
  if (Number.isNaN(value)) return { nan: true }
  if (Array.isArray(value)) return value.map(dump)
  if (typeof value === 'object' && value !== null) return sorted(Object.fromEntries(Object.entries(value).map(([key, item]) => [key, dump(item)])))
  return value
}

const delta = text =>
  text.toDelta().map(op => ({ insert: dump(op.insert), ...(op.attributes ? { attributes: dump(op.attributes) } : {}) }))

/** A root type that nobody has declared, so that Yjs does not know its kind: what hangs in it, as it hangs there. */
const undeclared = type => {
  const valuesOf = item => (item.deleted ? [] : item.content.getContent().map(dump))
  const list = []
  for (let item = type._start; item !== null; item = item.right) list.push(...valuesOf(item))
  return { list, map: sorted(Object.fromEntries([...type._map].map(([key, item]) => [key, valuesOf(item)]))) }
}

/** The whole document by root name. */
export const content = doc => {
  declareRoots(doc)
  return sorted(Object.fromEntries([...doc.share.entries()].map(([name, type]) => [name, dump(type)])))
}

export const stateVector = doc => Buffer.from(Y.encodeStateVector(doc)).toString('base64')

/** State vector and delete set; equal exactly when two replicas have integrated the same updates. */
export const snapshot = doc => Buffer.from(Y.encodeSnapshot(Y.snapshot(doc))).toString('base64')

export const isPending = doc => doc.store.pendingStructs !== null || doc.store.pendingDs !== null

export const state = doc => ({
  content: content(doc),
  stateVector: stateVector(doc),
  snapshot: snapshot(doc),
  pending: isPending(doc),
  update: Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64')
})

/** A fresh document made of one update, as another program would load weft's export. */
export const load = update => {
  const doc = new Y.Doc()
  declareRoots(doc)
  Y.applyUpdate(doc, update)
  return doc
}
