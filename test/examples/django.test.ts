// The Django middleware with as much of Django as it uses, and the connection's settings in Python's own sqlite3.
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { run } from '../system/harness.js'

const example = fileURLToPath(new URL('../../examples/django', import.meta.url))

/** Django's part: modules with the names that the example imports, and one request after the other. Prints what came of each. */
const DRIVER = `
import json, os, sqlite3, sys, types
class HttpResponse:
    def __init__(self, content=b"", headers=None):
        self.headers = headers or {}
class OperationalError(Exception):
    pass
def module(name, **members):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(members)
module("django"); module("django.http", HttpResponse=HttpResponse); module("django.db", OperationalError=OperationalError)
import litefs_settings
module("django.conf", settings=litefs_settings)
from litefs_middleware import LiteFSMiddleware
middleware = LiteFSMiddleware(lambda request: "view")
Request = types.SimpleNamespace
shown = lambda answer: getattr(answer, "headers", answer)
asked = [shown(middleware(Request(method=m))) for m in ("GET", "HEAD", "POST", "DELETE")]
failed = OperationalError("attempt to write a readonly database")
raised = [
    shown(middleware.process_exception(Request(method="GET"), failed)),
    shown(middleware.process_exception(Request(method="GET"), OperationalError("no such table: a"))),
    shown(middleware.process_exception(Request(method="GET"), ValueError("readonly"))),
]
options = litefs_settings.DATABASES["default"]["OPTIONS"]
connection = sqlite3.connect(os.path.join(sys.argv[1], "app.db"), timeout=options["timeout"])
connection.executescript(options["init_command"])
mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
print(json.dumps({"asked": asked, "raised": raised, "mode": mode}))
`

async function django(directory: string): Promise<unknown> {
  const env = [`PYTHONPATH=${example}`, 'PYTHONDONTWRITEBYTECODE=1', `LITEFS_DIR=${directory}`]
  const { code, stdout, stderr } = await run('env', [...env, 'python3', '-c', DRIVER, directory])
  if (code !== 0) throw new Error(`Cannot run the example: ${stderr}`)
  return JSON.parse(stdout)
}

t.test('on a replica writes go to the primary', async (t) => {
  const directory = t.testdir({ '.primary': 'machine-1\n' })
  const replay = { 'fly-replay': 'instance=machine-1' }
  const asked = ['view', 'view', replay, replay]
  t.strictSame(await django(directory), { asked, raised: [replay, null, null], mode: 'wal' })
})

t.test('on the primary everything stays', async (t) => {
  const directory = t.testdir({})
  const asked = ['view', 'view', 'view', 'view']
  t.strictSame(await django(directory), { asked, raised: [null, null, null], mode: 'wal' })
})
