// Pages in the system's Chromium for a test written in Rust, by requests (`../requests.mjs`); whatever waits has a deadline
// (`ms`).

import axe from 'axe-core'
import { chromium } from 'playwright-core'
import { serveRequests } from '../requests.mjs'

/** How often a page is asked whether something is so, milliseconds. */
const LOOK_EVERY = 25

let browser
let origins
const profiles = new Map()
const pages = new Map()
/** What is held back on the way between a page and its server, for pages that were opened with `hold`. */
const lines = new Map()
/** What no page may ever do: fail, break its policy, ask anybody else for anything. */
const problems = []

// Runs in each page before its own script: keeps every state that is shown, the moment it is shown.
const watchStatus = () => {
  globalThis.statesSeen = []
  new MutationObserver(() => {
    const state = document.getElementById('status')?.dataset.state
    if (state !== undefined && state !== globalThis.statesSeen.at(-1)) globalThis.statesSeen.push(state)
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-state'] })
}

// Runs in a page: what is written, without the carets of others and what depends on the moment.
const written = () => {
  const copy = document.querySelector('.page').cloneNode(true)
  copy.querySelectorAll('.caret, .ProseMirror-separator, .ProseMirror-trailingBreak, .ProseMirror-yjs-cursor').forEach(node => node.remove())
  copy.querySelectorAll('.selected').forEach(node => node.replaceWith(...node.childNodes))
  copy.querySelectorAll('[class], [data-placeholder]').forEach(node => {
    node.removeAttribute('class')
    node.removeAttribute('data-placeholder')
  })
  copy.normalize()
  return copy.innerHTML
}

// Runs in a page, a moment after a key: whether what is typed next stands at the end.
const caretIsAtEnd = async () => {
  await new Promise(resolve => setTimeout(resolve, 10))
  const { selection, doc } = document.querySelector('.page').editor.state
  return selection.eq(selection.constructor.atEnd(doc))
}

const pageNamed = name => {
  const page = pages.get(name)
  if (page === undefined) throw new Error(`no page named ${name}`)
  return page
}

const profileNamed = async (name, options) => {
  if (!profiles.has(name)) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
    await context.addInitScript(watchStatus)
    context.on('request', request => {
      const { origin, protocol } = new URL(request.url())
      if (protocol !== 'data:' && !origins.includes(origin)) problems.push(`asked ${request.url()}`)
    })
    profiles.set(name, context)
  }
  return profiles.get(name)
}

// A line of which either direction can be stopped, and let go on: a network that is slow just now.
const holdable = async (name, page) => {
  const line = { up: [], down: [], held: { up: false, down: false } }
  lines.set(name, line)
  await page.routeWebSocket(/.*/, socket => {
    const server = socket.connectToServer()
    line.pass = { up: message => server.send(message), down: message => socket.send(message) }
    const carry = direction => message => line.held[direction] ? line[direction].push(message) : line.pass[direction](message)
    socket.onMessage(carry('up'))
    server.onMessage(carry('down'))
  })
}

const operations = {
  launch: async ({ executable, args, origins: allowed }) => {
    origins = allowed
    browser = await chromium.launch({ executablePath: executable, args })
    return browser.version()
  },
  open: async ({ page: name, profile, url, options: { hold, ...options }, ms }) => {
    const context = await profileNamed(profile, options)
    const page = await context.newPage()
    page.on('pageerror', error => problems.push(`${name} threw ${error.stack}`))
    page.on('console', message => {
      // A socket that cannot be opened while the server is down is what these tests are about.
      const expected = /WebSocket connection to|Permission denied to access|net::ERR_(CONNECTION|INTERNET)/
      if (message.type() === 'error' && !expected.test(message.text())) problems.push(`${name}: ${message.text()}`)
    })
    if (hold) await holdable(name, page)
    pages.set(name, page)
    await page.goto(url, { timeout: ms })
    await page.waitForSelector('.page', { timeout: ms })
  },
  close: async ({ page }) => {
    await pageNamed(page).close()
    pages.delete(page)
  },
  reload: async ({ page, ms }) => {
    await pageNamed(page).reload({ timeout: ms })
    await pageNamed(page).waitForSelector('.page', { timeout: ms })
  },
  offline: async ({ profile, on }) => profiles.get(profile).setOffline(on),
  hold: ({ page, direction }) => { lines.get(page).held[direction] = true },
  // What is held is passed on first, in its order.
  release: ({ page, direction }) => {
    const line = lines.get(page)
    line.held[direction] = false
    line[direction].splice(0).forEach(message => line.pass[direction](message))
  },
  // Waits until messages of this kind, the first byte, are among what is held.
  held: async ({ page, direction, kind, ms }) => {
    const deadline = Date.now() + ms
    while (!lines.get(page)[direction].some(message => message[0] === kind)) {
      if (Date.now() > deadline) throw new Error(`nothing of kind ${kind} is held ${direction} after ${ms} ms`)
      await new Promise(resolve => setTimeout(resolve, LOOK_EVERY))
    }
  },
  // Writes a line of its own at the end of the document.
  write: async ({ page: name, text }) => {
    const page = pageNamed(name)
    await page.focus('.page')
    // ProseMirror learns of a new caret by an event that the next key may overtake, and what comes from others meanwhile
    // puts it back. No user is that fast; here the editor is asked where it is.
    do await page.keyboard.press('Control+End')
    while (!await page.evaluate(caretIsAtEnd))
    if (await page.evaluate('document.querySelector(".page > :last-child").textContent !== ""')) await page.keyboard.press('Enter')
    await page.keyboard.type(text)
  },
  type: async ({ page, text }) => pageNamed(page).keyboard.type(text),
  press: async ({ page, key }) => pageNamed(page).keyboard.press(key),
  click: async ({ page, selector, ms }) => pageNamed(page).click(selector, { timeout: ms }),
  fill: async ({ page, selector, text, ms }) => {
    await pageNamed(page).fill(selector, text, { timeout: ms })
    await pageNamed(page).press(selector, 'Enter', { timeout: ms })
  },
  run: async ({ page, code }) => (await pageNamed(page).evaluate(code)) ?? null,
  wait: async ({ page: name, code, ms }) => {
    const page = pageNamed(name)
    const deadline = Date.now() + ms
    for (;;) {
      // A page on its way to another one has nothing to say.
      const value = await page.evaluate(code).catch(error => { console.error(`${name}: ${code}: ${error.message}`) })
      if (value) return value
      if (Date.now() > deadline) {
        const state = await page.evaluate('document.querySelector(".page").innerHTML + document.body.innerText')
        throw new Error(`not so after ${ms} ms in ${name}: ${code}\n${state}\n${problems.join('\n')}`)
      }
      await new Promise(resolve => setTimeout(resolve, LOOK_EVERY))
    }
  },
  written: async ({ page }) => pageNamed(page).evaluate(written),
  // All pages show the same, and it holds each of these.
  same: async ({ pages: names, parts, ms }) => {
    const deadline = Date.now() + ms
    for (;;) {
      const shown = await Promise.all(names.map(name => pageNamed(name).evaluate(written)))
      const [first] = shown
      if (shown.every(other => other === first) && parts.every(part => first.includes(part))) return first
      if (Date.now() > deadline) throw new Error(`not the same after ${ms} ms, or without one of ${parts}:\n${shown.join('\n\n')}`)
      await new Promise(resolve => setTimeout(resolve, LOOK_EVERY))
    }
  },
  screenshot: async ({ page, path, fullPage }) => { await pageNamed(page).screenshot({ path, fullPage }) },
  // What axe finds wrong, in short.
  axe: async ({ page: name }) => {
    const page = pageNamed(name)
    await page.evaluate(axe.source)
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => `${node.html} ${node.failureSummary}`).join('\n')}`)
  },
  problems: () => problems.splice(0),
  quit: () => browser.close()
}

serveRequests(operations, {
  ended: async () => {
    await browser?.close()
    process.exit(0)
  }
})
