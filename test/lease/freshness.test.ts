import t from 'tap'
import { compare, isAhead } from '../../src/lease/freshness.js'

const at = (txid: bigint, checksum = txid) => ({ txid, checksum })

t.test('who is ahead', async (t) => {
  const own = new Map([
    ['a', at(5n)],
    ['b', at(3n)],
  ])
  const cases: [string, [string, ReturnType<typeof at>][], boolean][] = [
    ['the same', [...own], false],
    [
      'more of one',
      [
        ['a', at(7n)],
        ['b', at(3n)],
      ],
      true,
    ],
    [
      'more of one, less of another',
      [
        ['a', at(9n)],
        ['b', at(2n)],
      ],
      false,
    ],
    ['a database more', [...own, ['c', at(1n)]], true],
    ['nothing', [], false],
    [
      'more of one, other content of another',
      [
        ['a', at(7n)],
        ['b', at(3n, 9n)],
      ],
      false,
    ],
  ]
  for (const [what, theirs, expected] of cases) t.equal(isAhead(compare(own, new Map(theirs))), expected, what)
  t.same(
    compare(
      own,
      new Map([
        ['a', at(7n)],
        ['b', at(3n, 9n)],
      ]),
    ),
    { ahead: 2n, behind: 0n, apart: ['b'] },
  )
  t.same(compare(own, new Map([['b', at(1n)]])), { ahead: 0n, behind: 7n, apart: [] })
})
