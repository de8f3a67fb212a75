// The house rules of this project, checked like any other behaviour. Each test lists everything that breaks its rule.
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const MAX_FILE_LINES = 350
const MAX_FUNCTION_LINES = 90

/** Files that nothing imports because a process or a thread starts with them. */
const entries = [
  'src/cli/main.ts',
  'src/apply/main.ts',
  'src/mount/thread.ts',
  'src/import/child.ts',
  'src/fuse/mount-child.ts',
  'src/config/json-schema.ts',
]

/** Who may import whom: each folder or file directly in src/, and what of ours it may import besides itself. */
const importTable: Record<string, string[]> = {
  addon: [],
  native: ['addon'],
  log: [],
  'log-output': ['log'],
  monotonic: ['native'],
  'aborted-after': [],
  fence: ['monotonic'],
  'open-writes': [],
  'rolling-file': [],
  trace: ['rolling-file'],
  ltx: ['native'],
  sqlite: ['native'],
  fuse: ['native'],
  config: [],
  exec: ['native', 'log'],
  db: ['ltx', 'sqlite', 'native', 'log'],
  store: ['db', 'ltx', 'sqlite', 'native', 'addon', 'log'],
  backup: ['db', 'ltx', 'native', 'log'],
  'backup-access': ['backup', 'config'],
  'node-backup': ['backup-access', 'backup', 'config', 'log'],
  bootstrap: ['backup-access', 'backup', 'config', 'http', 'replication', 'ltx', 'log'],
  sidecar: ['backup', 'config', 'db', 'ltx', 'sqlite', 'native', 'log'],
  apply: ['mount', 'db', 'ltx', 'sqlite', 'native', 'log'],
  mount: ['fence', 'fuse', 'store', 'db', 'sqlite', 'ltx', 'native', 'log', 'trace'],
  replication: ['store', 'db', 'ltx', 'log'],
  import: ['sqlite'],
  lease: ['config', 'monotonic', 'log'],
  proxy: ['aborted-after', 'ltx', 'log'],
  http: ['replication', 'import', 'store', 'db', 'ltx', 'log'],
  replica: ['bootstrap', 'apply', 'http', 'replication', 'mount', 'db', 'ltx', 'log'],
  halt: ['aborted-after', 'apply', 'fence', 'fuse', 'http', 'replication', 'mount', 'db', 'ltx', 'monotonic', 'log'],
  'role-switch': ['halt', 'replica', 'apply', 'fence', 'open-writes', 'lease', 'http', 'replication', 'mount', 'log'],
  successor: ['lease', 'replication', 'monotonic', 'log'],
  judge: ['lease', 'http', 'store', 'log'],
  'expected-peers': ['http', 'store', 'monotonic'],
  'node-roles': ['judge', 'expected-peers', 'successor', 'role-switch', 'lease', 'http', 'replication', 'store', 'log'],
  'local-node': ['mount', 'http', 'replication', 'import', 'db', 'ltx'],
  'restore-missing': ['backup-access', 'apply', 'mount', 'backup', 'config', 'db', 'ltx', 'log'],
  'primary-backup': ['node-backup', 'restore-missing', 'backup', 'local-node', 'mount', 'config', 'log'],
  'open-roles':
    'bootstrap halt node-roles role-switch local-node fence open-writes lease http replication mount store config log'.split(
      ' ',
    ),
  'local-proxy': ['proxy', 'node-roles', 'open-writes', 'http', 'mount', 'config', 'log'],
  'node-access': ['config', 'http'],
  node: [
    'node-access',
    'primary-backup',
    'local-proxy',
    'proxy',
    'fence',
    'open-writes',
    'http',
    'local-node',
    'halt',
    'node-roles',
    'open-roles',
    'replication',
    'mount',
    'store',
    'fuse',
    'db',
    'ltx',
    'sqlite',
    'native',
    'config',
    'exec',
    'log',
    'trace',
  ],
  cli: [
    'backup',
    'backup-access',
    'sidecar',
    'config',
    'node',
    'http',
    'import',
    'lease',
    'ltx',
    'db',
    'exec',
    'log',
    'log-output',
    'store',
  ],
}

/** Parts that turn bytes into values and back, and so know no file, socket or process. */
const pureParts =
  /^src\/(?:ltx\/|sqlite\/|replication\/(?:frames|frame-decoder|wire|position-map|database-name)\.ts$|fuse\/(?:abi|decode|encode|errno|session)\.ts$)/
const impureModules = /^node:(?:fs|net|http|http2|https|child_process|worker_threads)(?:\/|$)/
const bannedNameParts = ['manager', 'factory', 'helper', 'helpers', 'base', 'util', 'utils', 'common']
const unfinishedWords = /\b(?:TO[D]O|FIX[M]E|X[X]X)\b|\bnot im[p]lemented\b/i
const machinePaths = /(?<![\w.*])\/(?:work|root|home)\//

interface Import {
  specifier: string
  line: number
}

interface Source {
  name: string
  tree: ts.SourceFile
  imports: Import[]
}

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((name) => statSync(path.join(root, name), { throwIfNoEntry: false })?.isFile())
  .sort()
const texts = new Map(
  files
    .map((name) => [name, readFileSync(path.join(root, name))] as const)
    .filter(([, bytes]) => !bytes.includes(0))
    .map(([name, bytes]) => [name, bytes.toString('utf8')] as const),
)
const codeFiles = [...texts].filter(([name]) => /^(?:src|test|bench|examples|native)\/.*\.(?:ts|js|c|h)$/.test(name))
const sources = codeFiles.filter(([name]) => /\.[tj]s$/.test(name)).map(([name, text]) => parse(name, text))
const ourSources = sources.filter(({ name }) => name.startsWith('src/'))
const byName = new Map(ourSources.map((source) => [source.name, source]))

function parse(name: string, text: string): Source {
  const tree = ts.createSourceFile(name, text, ts.ScriptTarget.ESNext, true)
  const imports: Import[] = []
  visit(tree, (node) => {
    const specifier = importedModule(node)
    if (specifier !== undefined) imports.push({ specifier, line: lineOf(tree, node) })
  })
  return { name, tree, imports }
}

function visit(node: ts.Node, look: (node: ts.Node) => void): void {
  look(node)
  ts.forEachChild(node, (child) => visit(child, look))
}

/** The module a node imports: static, re-exported, dynamic or as a type. */
function importedModule(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return literalText(node.moduleSpecifier)
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    return literalText(node.arguments[0])
  }
  return ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
    ? literalText(node.argument.literal)
    : undefined
}

function literalText(node: ts.Node | undefined): string | undefined {
  return node !== undefined && ts.isStringLiteral(node) ? node.text : undefined
}

function lineOf(tree: ts.SourceFile, node: ts.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1
}

/** The file a relative import names, as a path from the root. */
function targetOf(name: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined
  return path.posix.join(path.posix.dirname(name), specifier).replace(/\.js$/, '.ts')
}

function partOf(name: string): string {
  return name.split('/')[1]?.replace(/\.ts$/, '') ?? name
}

/** Every place in the given sources where `problemOf` finds something to say about a node. */
function problemsIn(where: Source[], problemOf: (node: ts.Node) => string | undefined): string[] {
  const problems: string[] = []
  for (const { name, tree } of where) {
    visit(tree, (node) => {
      const problem = problemOf(node)
      if (problem !== undefined) problems.push(`${name}:${lineOf(tree, node)}: ${problem}`)
    })
  }
  return problems
}

function rule(title: string, problems: () => string[]): void {
  t.test(title, async (t) => {
    t.strictSame(problems(), [])
  })
}

rule('imports between the parts of src/ follow the import table', () =>
  ourSources.flatMap(({ name, imports }) => {
    const part = partOf(name)
    const allowed = importTable[part]
    if (allowed === undefined) return [`${name}: the import table has no row for ${part}`]
    return imports.flatMap(({ specifier, line }) => {
      const target = targetOf(name, specifier)
      if (target === undefined) return []
      const ok = target.startsWith('src/') && (partOf(target) === part || allowed.includes(partOf(target)))
      return ok ? [] : [`${name}:${line}: ${part} may not import ${target}`]
    })
  }),
)

rule('formats and protocol know no file, socket or process', () =>
  ourSources
    .filter(({ name }) => pureParts.test(name))
    .flatMap(({ name, imports }) =>
      imports
        .filter(({ specifier }) => impureModules.test(specifier))
        .map(({ specifier, line }) => `${name}:${line}: imports ${specifier}`),
    ),
)

rule('packages imported in src/ are dependencies', () => {
  const manifest = JSON.parse(texts.get('package.json') ?? '{}') as { dependencies: Record<string, string> }
  return ourSources.flatMap(({ name, imports }) =>
    imports
      .filter(({ specifier }) => !/^(?:\.|node:)/.test(specifier))
      .filter(
        ({ specifier }) => !Object.keys(manifest.dependencies).some((dep) => `${specifier}/`.startsWith(`${dep}/`)),
      )
      .map(({ specifier, line }) => `${name}:${line}: ${specifier} is not in package.json's dependencies`),
  )
})

rule('no import cycles', () => {
  const cycles = new Set<string>()
  const done = new Set<string>()
  const walk = (name: string, trail: string[]) => {
    const start = trail.indexOf(name)
    if (start >= 0) cycles.add([...trail.slice(start), name].join(' -> '))
    if (start >= 0 || done.has(name)) return
    for (const target of targetsOf(name)) walk(target, [...trail, name])
    done.add(name)
  }
  for (const { name } of ourSources) walk(name, [])
  return [...cycles]
})

rule('every file of src/ is used', () => {
  const reached = new Set<string>()
  const reach = (name: string) => {
    if (reached.has(name)) return
    reached.add(name)
    for (const target of targetsOf(name)) reach(target)
  }
  for (const entry of entries) reach(entry)
  const missing = entries.filter((name) => !byName.has(name)).map((name) => `${name}: an entry that does not exist`)
  const dead = ourSources.filter(({ name }) => !reached.has(name)).map(({ name }) => `${name}: nothing imports it`)
  return [...missing, ...dead]
})

function targetsOf(name: string): string[] {
  const imports = byName.get(name)?.imports ?? []
  return imports.map(({ specifier }) => targetOf(name, specifier)).filter((target) => target !== undefined)
}

rule(`no file is longer than ${MAX_FILE_LINES} lines`, () =>
  codeFiles
    .map(([name, text]) => ({ name, lines: text.trimEnd().split('\n').length }))
    .filter(({ lines }) => lines > MAX_FILE_LINES)
    .map(({ name, lines }) => `${name}: ${lines} lines`),
)

rule(`no function is longer than ${MAX_FUNCTION_LINES} lines`, () =>
  problemsIn(sources, (node) => {
    if (!ts.isFunctionLike(node)) return undefined
    const tree = node.getSourceFile()
    const lines = tree.getLineAndCharacterOfPosition(node.getEnd()).line + 2 - lineOf(tree, node)
    return lines > MAX_FUNCTION_LINES ? `a function of ${lines} lines` : undefined
  }),
)

rule('no names that say nothing', () => {
  const banned = (name: string) =>
    name.split(/[-_.]|(?=[A-Z])/).some((word) => bannedNameParts.includes(word.toLowerCase()))
  const badFiles = codeFiles.filter(([name]) => banned(path.basename(name))).map(([name]) => `${name}: file name`)
  const badTypes = problemsIn(sources, (node) => {
    const named = ts.isClassLike(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)
    return named && node.name !== undefined && banned(node.name.text) ? `named ${node.name.text}` : undefined
  })
  return [...badFiles, ...badTypes]
})

rule('types are neither dodged nor forced', () =>
  problemsIn(sources, (node) => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) return 'any'
    if (ts.isNonNullExpression(node)) return 'non-null assertion !'
    if ((ts.isPropertyDeclaration(node) || ts.isVariableDeclaration(node)) && node.exclamationToken) return 'definite !'
    const twice = ts.isAsExpression(node) && ts.isAsExpression(node.expression)
    return twice && node.expression.type.kind === ts.SyntaxKind.UnknownKeyword ? 'as unknown as' : undefined
  }).concat(textProblems(codeFiles, /@ts-(?:ignore|nocheck)/)),
)

rule('named exports, no index files, enums or namespaces', () => {
  const barrels = codeFiles.filter(([name]) => /\/index\.[tj]s$/.test(name)).map(([name]) => `${name}: an index file`)
  const constructs = problemsIn(sources, (node) => {
    if (ts.isEnumDeclaration(node)) return 'enum'
    if (ts.isModuleDeclaration(node)) return 'namespace'
    const byKeyword = ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(isDefault) === true
    return ts.isExportAssignment(node) || byKeyword ? 'default export' : undefined
  })
  return [...barrels, ...constructs]
})

function isDefault(modifier: ts.Modifier): boolean {
  return modifier.kind === ts.SyntaxKind.DefaultKeyword
}

rule('nothing is marked as unfinished', () => textProblems(authored(), unfinishedWords))

rule("no paths of somebody's machine", () => textProblems(authored(), machinePaths))

/** Text we write ourselves. */
function authored(): [string, string][] {
  return [...texts].filter(([name]) => name !== 'package-lock.json' && name !== 'LICENSE')
}

function textProblems(where: [string, string][], pattern: RegExp): string[] {
  return where.flatMap(([name, text]) =>
    text.split('\n').flatMap((line, index) => (pattern.test(line) ? [`${name}:${index + 1}: ${line.trim()}`] : [])),
  )
}

rule('every folder of src/ has its tests at the mirrored path', () => {
  const folders = new Set(ourSources.map(({ name }) => path.posix.dirname(name)).filter((name) => name !== 'src'))
  return [...folders]
    .map((folder) => folder.replace(/^src/, 'test'))
    .filter((folder) => !sources.some(({ name }) => name.startsWith(`${folder}/`) && name.endsWith('.test.ts')))
    .map((folder) => `${folder}/: no test here`)
})
