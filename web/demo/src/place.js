// Which document this page shows and which server has it: all of it stands in the page's own address.

const DEFAULT_DOCUMENT = 'welcome'

/** A document's name as a path: slashes stay, so that it is the same document whether or not the server decodes names. */
export const pathOf = name => {
  const parts = name.split('/')
  // A URL parser would resolve these away; then the slashes have to be hidden too.
  if (parts.some(part => part === '.' || part === '..')) return encodeURIComponent(name)
  return parts.map(encodeURIComponent).join('/')
}

/** What a token says, as far as it can be read; it is the server that checks it. */
const claimsOf = token => {
  try {
    const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')
    return JSON.parse(atob(payload)) ?? {}
  } catch {
    return { access: 'write' }
  }
}

/** Reads an address: `?doc=NAME`, and a token as `#token=…` (or `?token=…`). */
export const placeOf = href => {
  const address = new URL(href)
  const name = address.searchParams.get('doc') || DEFAULT_DOCUMENT
  const token = new URLSearchParams(address.hash.slice(1)).get('token') ?? address.searchParams.get('token') ?? undefined

  const server = new URL('.', address)
  server.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'

  // A token is shown to nobody: not in what is copied, and behind the # it is not even sent with the page's requests.
  const link = other => {
    const to = new URL('.', address)
    to.searchParams.set('doc', other)
    // Slashes are allowed in a query, and a link is read by people.
    return to.href.replaceAll('%2F', '/')
  }
  return {
    name,
    token,
    server: server.href.replace(/\/+$/, ''),
    readOnly: token !== undefined && claimsOf(token).access !== 'write',
    /** The page of a document, to be given to others. */
    link,
    /** The page of a document, for whoever is here. */
    ownLink: other => link(other) + (token === undefined ? '' : '#token=' + encodeURIComponent(token))
  }
}

const QUIET = ['amber', 'brisk', 'calm', 'clear', 'early', 'gentle', 'green', 'quiet', 'silver', 'warm']
const PLACES = ['bridge', 'field', 'garden', 'harbour', 'loom', 'meadow', 'orchard', 'river', 'shore', 'valley']

/** A name that nobody is likely to have used. */
export const freshName = () => {
  const one = list => list[Math.floor(Math.random() * list.length)]
  return `${one(QUIET)}-${one(PLACES)}-${Math.floor(1000 + Math.random() * 9000)}`
}
