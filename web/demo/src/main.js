// The page: a Yjs document, kept on this device and on the server, shown by an editor, with the state of things around it.

import * as Y from 'yjs'
import { readAuthMessage } from 'y-protocols/auth'
import { WebsocketProvider } from 'y-websocket'
import { openDevice } from './device.js'
import { FIELD, openEditor } from './editor.js'
import { fitToShow } from './others.js'
import { peopleIn, showPeople } from './people.js'
import { keep, me, nameOf, rarest } from './person.js'
import { freshName, pathOf, placeOf } from './place.js'
import { watchSaved } from './saved.js'
import { refusalOf, statusOf } from './status.js'
import { bindToolbar } from './toolbar.js'

const AUTH = 2
/** How long a state must last before it is read aloud: whoever types does not want to hear of every letter. */
const ANNOUNCE_AFTER = 1500
/** How long all must have been saved before the page says so again, so that it is calm while somebody types. */
const CALM = 250

const $ = id => document.getElementById(id)

const place = placeOf(location.href)
// What the address bar shows can be given away: the document is in it, the token is behind the #.
history.replaceState(null, '', place.ownLink(place.name))
document.title = `${place.name} · weft`

const doc = new Y.Doc()
// Other tabs are reached through the server like everybody else: what they show has to be true of the server.
const provider = new WebsocketProvider(place.server, pathOf(place.name), doc, {
  connect: false,
  disableBc: true,
  params: place.token === undefined ? {} : { token: place.token }
})

const device = await openDevice(place.name, doc, () => show())

const awareness = fitToShow(provider.awareness, FIELD)
const user = me()
let link = 'first'
let away = false
let reason = ''
let refused

const saved = watchSaved(doc, provider, { earlier: device?.earlier ?? 0, changed: () => show() })
const editor = openEditor({
  element: $('editor'),
  doc,
  awareness,
  user,
  editable: !place.readOnly,
  leave: () => $('toolbar').querySelector('[tabindex="0"]').focus()
})
bindToolbar($('toolbar'), editor)
document.body.classList.toggle('readonly', place.readOnly)

// The state of things.

let announced = ''
let announcing
const announce = word => {
  clearTimeout(announcing)
  announcing = setTimeout(() => {
    if (word === announced) return
    announced = word
    $('announcer').textContent = word
  }, ANNOUNCE_AFTER)
}

let shown = {}
let calming
const show = () => {
  const { all, pending, waited } = saved
  device?.note(pending)
  // Whether the tab may be closed without losing anything.
  $('status').dataset.kept = pending === 0 || device?.kept ? 'yes' : 'no'
  const next = statusOf({
    link, refused, readOnly: place.readOnly, all, pending, waited, reason, device: device !== undefined
  })
  clearTimeout(calming)
  // Bad news at once, good news when it lasts.
  if (next.kind === 'saved' && shown.kind === 'saving') calming = setTimeout(() => render(next), CALM)
  else render(next)
}

const render = next => {
  if (next.word === shown.word && next.more === shown.more && next.kind === shown.kind) return
  shown = next
  $('status').dataset.state = next.kind
  $('status').title = next.more
  $('status-word').textContent = next.word
  $('status-more').textContent = next.more
  announce(`${next.word}. ${next.more}`)
}
setInterval(show, 1000)
window.addEventListener('beforeunload', event => {
  if ($('status').dataset.kept === 'no') event.preventDefault()
})

// The connection.

const linkNow = () => {
  if (away) return 'away'
  if (provider.wsconnected) return 'up'
  return link === 'first' ? 'first' : 'down'
}

provider.on('status', () => {
  if (provider.wsconnected) reason = ''
  link = linkNow()
  show()
})
provider.on('connection-close', event => {
  if (event?.reason) reason = event.reason
  // Before the first answer it may be a server that is just starting; after that it is gone.
  link = away ? 'away' : 'down'
  show()
})
provider.on('closed', ({ code, reason }) => refuse(code, reason))
// The word comes seconds before the close code does.
provider.messageHandlers[AUTH] = (_encoder, decoder) => {
  readAuthMessage(decoder, doc, (_doc, said) => {
    reason = said
    refuse(/token does not open/.test(said) ? 4403 : 4401, said)
  })
}

const refuse = (code, said) => {
  refused = refusalOf(code)
  $('refusal-title').textContent = refused.title
  $('refusal-text').textContent = refused.text
  // The first word is the more exact one; the close frame's is as long as it may be.
  $('refusal-said').textContent ||= said ? `The server said: ${said}` : ''
  $('token-form').hidden = !refused.token
  $('refusal-acts').hidden = refused.token
  $('discard').hidden = !refused.stale || device === undefined
  $('refusal').hidden = false
  document.body.classList.add('refused')
  editor.setEditable(false)
  show()
}

$('token-form').addEventListener('submit', event => {
  event.preventDefault()
  history.replaceState(null, '', `#token=${encodeURIComponent($('token').value.trim())}`)
  location.reload()
})

$('discard').addEventListener('click', async () => {
  if (!window.confirm('Remove the copy on this device? What was not saved is lost.')) return
  await device.forget()
  location.reload()
})

const goOffline = yes => {
  away = yes
  $('offline').setAttribute('aria-pressed', String(yes))
  if (yes) provider.disconnect()
  else provider.connect()
  link = linkNow()
  show()
}
$('offline').addEventListener('click', () => goOffline(!away))

// A network that is gone takes half a minute to be noticed by itself. A server on this machine needs no network.
const isLocal = /^(localhost|.*\.localhost|127\..*|\[::1\])$/.test(location.hostname)
window.addEventListener('offline', () => { if (!isLocal) { provider.disconnect(); provider.shouldConnect = true } })
window.addEventListener('online', () => { if (!away && !refused) provider.connect() })

// People.

awareness.on('change', () => showPeople($('people'), peopleIn(awareness)))
showPeople($('people'), peopleIn(awareness))

const become = changes => {
  Object.assign(user, changes)
  keep(user)
  awareness.setLocalStateField('user', { ...user })
  $('name').style.setProperty('--person', user.color)
}
$('name').value = user.name
become({})
$('name').addEventListener('change', () => {
  const name = nameOf($('name').value)
  $('name').value = name
  become({ name })
})
$('name').addEventListener('keydown', event => {
  if (event.key === 'Enter') editor.commands.focus()
})
// Two tabs of one browser, or two strangers, may have chosen alike: the one who comes later changes.
provider.once('sync', () => {
  const others = peopleIn(awareness).filter(person => !person.self).map(person => person.color)
  if (others.includes(user.color)) become({ color: rarest(others) })
})

// The document.

$('document').value = place.name
$('document-form').addEventListener('submit', event => {
  event.preventDefault()
  const name = $('document').value.trim()
  if (name && name !== place.name) location.href = place.ownLink(name)
})
$('document').addEventListener('blur', () => { $('document').value = place.name })
for (const fresh of document.querySelectorAll('[data-fresh]')) fresh.href = place.ownLink(freshName())

const copy = async (text, button) => {
  const before = button.dataset.word ??= button.textContent
  try {
    await navigator.clipboard.writeText(text)
    button.textContent = 'Copied'
  } catch {
    // No clipboard without a secure context; the text can be taken from here by hand.
    window.prompt('Copy this:', text)
  }
  $('announcer').textContent = 'Copied.'
  setTimeout(() => { button.textContent = before }, 1600)
}
$('copy-link').addEventListener('click', () => copy(place.link(place.name), $('copy-link')))

const quoted = text => `'${text.replaceAll('\\', '\\\\').replaceAll('\'', '\\\'')}'`
$('snippet').textContent = `import * as Y from 'yjs'
import { WebsocketProvider }
  from 'y-websocket'

const doc = new Y.Doc()
new WebsocketProvider(
  ${quoted(place.server)},
  ${quoted(pathOf(place.name))}, doc)

// now bind doc to TipTap, Monaco,
// CodeMirror, Lexical, Quill…
`
$('copy-snippet').addEventListener('click', () => copy($('snippet').textContent, $('copy-snippet')))

// A token that is put behind the # of an open page is meant to be used.
window.addEventListener('hashchange', () => location.reload())

document.body.classList.remove('loading')
show()
provider.connect()
