// Waiting without sleeping: a condition is looked at again when anything happened to any client (at most once per turn of
// the event loop), and gives up at its deadline with what was seen last.

const waiters = new Set()
let scheduled = false

const lookAgain = () => {
  scheduled = false
  for (const waiter of [...waiters]) waiter()
}

/** Something happened. */
export const notify = () => {
  if (scheduled || waiters.size === 0) return
  scheduled = true
  setImmediate(lookAgain)
}

/** Resolves with the first truthy value of `condition`; rejects with `describe()` after `ms`. */
export const until = (condition, ms, describe) =>
  new Promise((resolve, reject) => {
    const settle = (how, value) => {
      clearTimeout(timer)
      waiters.delete(look)
      how(value)
    }
    const look = () => {
      try {
        const value = condition()
        if (value) settle(resolve, value)
      } catch (error) {
        settle(reject, error)
      }
    }
    const timer = setTimeout(() => settle(reject, new Error(`not so after ${ms} ms: ${describe()}`)), ms)
    waiters.add(look)
    look()
  })

/** `promise`, or an error after `ms`. */
export const within = async (promise, ms, describe) => {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${ms} ms: ${describe()}`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
