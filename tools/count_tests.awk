# Reads the output of one test runner and prints how many tests passed. Exits 1 and says why when the runner tells of a
# failure or a skipped test, or when it ran nothing: a runner that finds no tests would otherwise look like a success.
#
#   cargo test  test result: ok. 12 passed; 0 failed; 0 ignored; ...      (one line per binary)
#   EUnit       All 12 tests passed.   Test passed.   Failed: 1.  Skipped: 0.  Passed: 11.
#   Common Test All 12 tests passed.   Failed 1 tests. Skipped 2 (0, 2) tests. Passed 9 tests.
#   ExUnit      12 tests, 0 failures, 1 skipped

{ gsub(/\033\[[0-9;]*m/, "") }

/^test result: / {
    found = 1
    for (i = 1; i < NF; i++) {
        if ($(i + 1) ~ /^passed/) passed += $i
        if ($(i + 1) ~ /^failed/) failed += $i
        if ($(i + 1) ~ /^ignored/) skipped += $i
    }
}
/^ *All [0-9]+ tests passed\./ { found = 1; passed += $2 }
/^ *Test passed\./ { found = 1; passed += 1 }
/^ *Failed: [0-9]+\./ { found = 1; failed += $2; skipped += $4; passed += $6 }
/^(Failed|Skipped|Passed) [0-9]+/ {
    found = 1
    for (i = 1; i < NF; i++) {
        if ($i == "Failed") failed += $(i + 1)
        if ($i == "Skipped") skipped += $(i + 1)
        if ($i == "Passed") passed += $(i + 1)
    }
}
/^[0-9]+ (doctests?, [0-9]+ )?tests?, [0-9]+ failures?/ {
    found = 1
    for (i = 1; i < NF; i++) {
        if ($(i + 1) ~ /^(tests?|doctests?),/) passed += $i
        if ($(i + 1) ~ /^failures?/) { failed += $i; passed -= $i }
        if ($(i + 1) ~ /^(skipped|excluded|invalid)/) { skipped += $i; passed -= $i }
    }
}

END {
    if (!found) { print "the runner told no counts"; exit 1 }
    if (failed || skipped) { print failed + 0 " failed, " skipped + 0 " skipped"; exit 1 }
    if (!passed) { print "no test was run"; exit 1 }
    print passed
}
