// Who is here: avatars for the eye, a list for everybody.

import { initialsOf } from './person.js'

/** Faces that fit a header; the rest are counted. */
const SHOWN_MAX = 6

const face = ({ name, color, self }) => {
  const item = document.createElement('li')
  item.className = 'face'
  item.title = self ? `${name} (you)` : name
  item.style.setProperty('--person', color)
  const initials = document.createElement('span')
  initials.textContent = initialsOf(name)
  initials.setAttribute('aria-hidden', 'true')
  const full = document.createElement('span')
  full.className = 'unseen'
  full.textContent = item.title
  item.append(initials, full)
  return item
}

const rest = people => {
  const item = document.createElement('li')
  item.className = 'face rest'
  item.title = people.map(person => person.name).join(', ')
  const count = document.createElement('span')
  count.textContent = `+${people.length}`
  count.setAttribute('aria-hidden', 'true')
  const names = document.createElement('span')
  names.className = 'unseen'
  names.textContent = item.title
  item.append(count, names)
  return item
}

/** Everybody who is here, oneself first. */
export const peopleIn = awareness => {
  const people = [...awareness.getStates()].map(([id, { user }]) => ({ id, self: id === awareness.clientID, ...user }))
  return people.sort((a, b) => Number(b.self) - Number(a.self) || a.id - b.id)
}

export const showPeople = (list, people) => {
  const fit = people.length > SHOWN_MAX ? SHOWN_MAX - 1 : SHOWN_MAX
  const items = people.slice(0, fit).map(face)
  if (people.length > fit) items.push(rest(people.slice(fit)))
  list.replaceChildren(...items)
}
