# Prints the test files of a suite of SQLite's permutations.test, one a line: testfixture list-suite.tcl TESTS SUITE
set tests [lindex $argv 0]
set suite [lindex $argv 1]
set argv0 [file join $tests list-suite.test]
set argv {}
source [file join $tests permutations.test]
if {![info exists ::testspec($suite)]} {
  puts stderr "there is no suite $suite; there are: [lsort [array names ::testspec]]"
  exit 1
}
array set spec $::testspec($suite)
foreach file [lsort $spec(-files)] { puts $file }
exit 0
