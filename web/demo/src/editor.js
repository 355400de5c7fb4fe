// The editor: TipTap on one Yjs fragment, with the carets of the others.

import { Editor } from '@tiptap/core'
import StarterKit from '@tiptap/starter-kit'
import { Placeholder } from '@tiptap/extensions'
import Collaboration from '@tiptap/extension-collaboration'
import CollaborationCaret from '@tiptap/extension-collaboration-caret'
/**
 * The fragment's name. Not `default`, which other TipTap applications use: an editor removes what its schema does not
 * know, and this one must not eat their tables when somebody opens their document here.
 */
export const FIELD = 'weft-demo'

// Built by hand and styled through the CSSOM: the page's policy allows no style in markup.
const caretOf = user => {
  const caret = document.createElement('span')
  caret.className = 'caret'
  // Read aloud in the middle of a sentence it would only disturb; the list of people says who is here.
  caret.setAttribute('aria-hidden', 'true')
  caret.style.setProperty('--person', user.color)
  const label = document.createElement('span')
  label.className = 'caret-name'
  label.textContent = user.name
  caret.append(label)
  return caret
}

const selectionOf = user => ({ class: 'selected', style: `--person: ${user.color}` })

/**
 * `awareness` says who else is here, fit to be shown. `leave` is called when somebody wants out by keyboard: in a list,
 * Tab is taken.
 */
export const openEditor = ({ element, doc, awareness, user, editable, leave }) => new Editor({
  element,
  editable,
  injectCSS: false,
  extensions: [
    // Undo belongs to Collaboration: it takes back one's own edits and nobody else's. A trailing paragraph would be added
    // by everybody who sees that there is none, and so several times.
    StarterKit.configure({ undoRedo: false, trailingNode: false, heading: { levels: [1, 2, 3] } }),
    Placeholder.configure({ placeholder: 'Write something. Open this page in a second window and watch it arrive.' }),
    Collaboration.configure({ document: doc, field: FIELD }),
    CollaborationCaret.configure({ provider: { awareness }, user, render: caretOf, selectionRender: selectionOf })
  ],
  editorProps: {
    handleKeyDown: (_view, { key }) => {
      if (key !== 'Escape') return false
      leave()
      return true
    },
    attributes: {
      class: 'page',
      role: 'textbox',
      'aria-multiline': 'true',
      'aria-label': 'Document',
      'aria-describedby': 'keys'
    }
  }
})
