// The copy on this device, in IndexedDB: what makes it possible to write without a server, and to come back later.

import * as idb from 'lib0/indexeddb'
import { IndexeddbPersistence } from 'y-indexeddb'

/** How long the copy may take to load before the page goes on without it, milliseconds. */
const PATIENCE = 3000

/**
 * Loads the copy into the document. Resolves to undefined where the browser keeps nothing. `changed` is called when edits
 * have become kept.
 */
export const openDevice = async (name, doc, changed) => {
  const store = new IndexeddbPersistence(`weft-demo/${name}`, doc)
  const given = await Promise.race([
    // It rejects where the browser forbids storage.
    Promise.all([store.whenSynced, store.get('pending')]).catch(() => undefined),
    new Promise(resolve => setTimeout(resolve, PATIENCE))
  ])
  if (given === undefined) return undefined

  let made = 0
  let kept = 0
  let settling = false
  // Transactions on a store run one after the other: once this one has run, so have the writes that were begun before it.
  const settle = async () => {
    if (settling) return
    settling = true
    try {
      while (kept < made) {
        const upTo = made
        const [updates] = idb.transact(store.db, ['updates'], 'readonly')
        await idb.count(updates)
        kept = upTo
      }
    } catch {
      // Then they are not kept, and the page says so.
    }
    settling = false
    changed()
  }
  // Registered after the store's own handler, which begins to write.
  doc.on('update', () => {
    made++
    settle()
  })

  let pending = Number(given[1]) || 0
  return {
    /** Edits of earlier visits that no server is known to have. */
    earlier: pending,
    /** Whether all that is written is in the store. */
    get kept () { return kept === made },
    /** Remembers how many edits no server is known to have. */
    note: now => {
      if (now === pending) return
      pending = now
      store.set('pending', now).catch(() => {})
    },
    forget: () => store.clearData()
  }
}
