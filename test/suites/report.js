// What a run of suites found: each finding is printed at once, the sums at the end.

export class Report {
  #files = 0
  #differing = 0
  #tests = { disk: 0, mount: 0 }
  #errors = { disk: 0, mount: 0 }
  #seconds = { disk: 0, mount: 0 }
  #survivors = { equal: 0, hot: 0, dropped: 0, spoiled: 0, noDatabase: 0, different: 0 }
  #followed = { equal: 0, unreadable: 0, different: 0 }
  #warnings = 0
  #complaints = 0

  /** One test file was run in both places; `log` is what litefs printed meanwhile. */
  tested(name, onDisk, onMount, log) {
    this.#files++
    for (const [place, result] of [
      ['disk', onDisk],
      ['mount', onMount],
    ]) {
      this.#tests[place] += result.tests
      this.#errors[place] += result.failures.length
      this.#seconds[place] += result.seconds
    }
    const difference = describeDifference(onDisk, onMount)
    if (onDisk.tests === 0) difference.push('nothing was tested on the disk')
    if (difference.length > 0) {
      this.#differing++
      console.log(`${name}: ${difference.join('; ')}\n${onMount.details}`)
    }
    this.#readLog(name, log)
  }

  /** The replica was compared with the mount; `log` is what it printed meanwhile. @param {import('./replica.js').Followed} followed */
  followed(name, { equal, unreadable, different }, log) {
    this.#followed.equal += equal
    this.#followed.unreadable += unreadable
    this.#followed.different += different.length
    for (const { name: database, reason } of different) console.log(`${name}: database ${database}: ${reason}`)
    this.#readLog(name, log)
  }

  /** The daemon that served these files was asked to stop. */
  stopped(names, code, log) {
    if (code !== 0) this.#complain(names, `litefs ended with code ${code}`)
    this.#readLog(names, log)
  }

  survived(names, survivors) {
    for (const key of Object.keys(this.#survivors)) this.#survivors[key] += survivors[key].length
    for (const { name, reason } of survivors.different) console.log(`${source(names)}: database ${name}: ${reason}`)
  }

  /** Prints the sums. @returns {boolean} whether the mount did as the disk, and LTX files make every database */
  close() {
    const place = (key) =>
      `${this.#errors[key]} errors of ${this.#tests[key]} tests in ${this.#seconds[key].toFixed(0)} s`
    console.log(`\n${this.#files} test files, ${this.#differing} of them differ`)
    console.log(`  on the disk   ${place('disk')}`)
    console.log(
      `  on the mount  ${place('mount')}; litefs logged ${this.#complaints} errors, ${this.#warnings} warnings`,
    )
    const followed = this.#followed
    if (followed.equal + followed.unreadable + followed.different > 0)
      console.log(
        `databases on the replica: ${followed.equal} equal to the primary's, ${followed.different} not; ${followed.unreadable} that the primary itself cannot read`,
      )
    const { equal, hot, dropped, spoiled, noDatabase, different } = this.#survivors
    console.log(
      `databases left on the mount: ${equal + hot + different} compared, ${different} differ from what their LTX files make`,
    )
    console.log(
      `  ${hot} of them with a hot journal; not compared: ${dropped} dropped, ${spoiled} spoiled on purpose, ${noDatabase} files that never were databases`,
    )
    return this.#differing === 0 && different + followed.different === 0 && this.#complaints === 0
  }

  #readLog(names, text) {
    for (const line of text.split('\n')) {
      if (/^level=(?:ERROR|FATAL)|^\s+at |rror: |Warning: /.test(line)) this.#complain(names, line)
      else if (line.startsWith('level=WARN')) {
        this.#warnings++
        console.log(`${source(names)}: ${line}`)
      }
    }
  }

  #complain(names, line) {
    this.#complaints++
    console.log(`${source(names)}: ${line}`)
  }
}

function source(names) {
  if (typeof names === 'string') return names
  return names.length === 1 ? names[0] : `one of ${names[0]} to ${names.at(-1)}`
}

function describeDifference(onDisk, onMount) {
  const found = []
  if (onDisk.problem !== onMount.problem) {
    found.push(`on the mount ${onMount.problem ?? 'it ends well'}, on the disk ${onDisk.problem ?? 'it ends well'}`)
  }
  if (onDisk.tests !== onMount.tests) found.push(`${onMount.tests} tests on the mount, ${onDisk.tests} on the disk`)
  const only = (one, other) => one.failures.filter((failure) => !other.failures.includes(failure))
  const worse = only(onMount, onDisk)
  if (worse.length > 0) found.push(`fails on the mount only: ${worse.join(' ')}`)
  const better = only(onDisk, onMount)
  if (better.length > 0) found.push(`fails on the disk only: ${better.join(' ')}`)
  return found
}
