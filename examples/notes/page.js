const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (character) => escapes[character])
}

function article({ title, body, created_at }) {
  return `<article><h2>${escapeHtml(title)}</h2><p>${escapeHtml(body)}</p><small>${created_at}</small></article>`
}

/** @param {{ notes: object[], count: number, words: string }} view */
export function renderPage({ notes, count, words }) {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Notes</title>
<style>body { font: 16px sans-serif; max-width: 40em; margin: 2em auto } form { margin: 1em 0 } p { white-space: pre-wrap }</style>
<h1>${count} notes</h1>
<form><input name="q" value="${escapeHtml(words)}" placeholder="Words"> <button>Search</button></form>
<form method="post" action="/">
<input name="title" placeholder="Title" required><br>
<textarea name="body" rows="4" cols="50" placeholder="Text" required></textarea><br>
<button>Add</button>
</form>
${notes.map(article).join('\n')}
`
}
