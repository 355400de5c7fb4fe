// The toolbar: one button for each kind of formatting, one stop for the Tab key, arrows within (WAI-ARIA APG, Toolbar).

const COMMANDS = {
  bold: { run: chain => chain.toggleBold(), active: ['bold'] },
  italic: { run: chain => chain.toggleItalic(), active: ['italic'] },
  strike: { run: chain => chain.toggleStrike(), active: ['strike'] },
  code: { run: chain => chain.toggleCode(), active: ['code'] },
  title: { run: chain => chain.toggleHeading({ level: 1 }), active: ['heading', { level: 1 }] },
  heading: { run: chain => chain.toggleHeading({ level: 2 }), active: ['heading', { level: 2 }] },
  bullets: { run: chain => chain.toggleBulletList(), active: ['bulletList'] },
  numbers: { run: chain => chain.toggleOrderedList(), active: ['orderedList'] },
  quote: { run: chain => chain.toggleBlockquote(), active: ['blockquote'] },
  block: { run: chain => chain.toggleCodeBlock(), active: ['codeBlock'] },
  undo: { run: chain => chain.undo() },
  redo: { run: chain => chain.redo() }
}

const STEPS = { ArrowRight: 1, ArrowLeft: -1 }

export const bindToolbar = (toolbar, editor) => {
  const buttons = [...toolbar.querySelectorAll('button')]
  const stopAt = chosen => buttons.forEach(button => { button.tabIndex = button === chosen ? 0 : -1 })
  stopAt(buttons[0])

  const goTo = button => {
    stopAt(button)
    button.focus()
  }
  toolbar.addEventListener('keydown', event => {
    const at = buttons.indexOf(document.activeElement)
    if (at < 0) return
    if (event.key in STEPS) goTo(buttons.at((at + STEPS[event.key]) % buttons.length))
    else if (event.key === 'Home') goTo(buttons[0])
    else if (event.key === 'End') goTo(buttons.at(-1))
    else return
    event.preventDefault()
  })

  for (const button of buttons) {
    // The selection stays in the editor, whatever is clicked.
    button.addEventListener('mousedown', event => event.preventDefault())
    button.addEventListener('click', () => {
      stopAt(button)
      // aria-disabled instead of disabled: a button that vanishes from under the keyboard takes the focus with it.
      if (button.getAttribute('aria-disabled') === 'true') return
      COMMANDS[button.dataset.command].run(editor.chain().focus()).run()
    })
  }

  const show = () => {
    for (const button of buttons) {
      const { run, active } = COMMANDS[button.dataset.command]
      if (active) button.setAttribute('aria-pressed', String(editor.isActive(...active)))
      button.setAttribute('aria-disabled', String(!editor.isEditable || !run(editor.can().chain()).run()))
    }
  }
  editor.on('transaction', show)
  editor.on('update', show)
  show()
}
