// Loaded into each test process (.taprc). Tap gives every child process its hooks, through NODE_OPTIONS, and gives them again to those whose
// environment has none: they are for coverage, which we do not measure, and take most of the time in which `node` or `litefs` starts.
import processOnSpawn from 'process-on-spawn'

processOnSpawn.addListener((options) => {
  const { NODE_OPTIONS: _hooks, ...env } = options.env
  options.env = env
})
