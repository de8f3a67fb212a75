import { mount, unmount } from '../native.js'

/**
 * Entry of the process that mounts and unmounts in a directory of a mount that its parent serves, as root: a thread of the parent that waited
 * for that could not be ended. Arguments: `mount`, source, directory, flags and data of mount(2), with the device as descriptor 3; or
 * `unmount`, directory, flags of umount2(2).
 */
const [verb, ...words] = process.argv.slice(2)
if (verb === 'mount') {
  const [source = '', dir = '', flags = '', data = ''] = words
  mount(source, dir, 'fuse', Number(flags), data)
} else {
  const [dir = '', flags = ''] = words
  unmount(dir, Number(flags))
}
