#!/bin/sh
# Advice on style that a person weighs: lines over 100 columns, files over 400 lines (Rust: without the unit tests at
# the foot) that do not say at their top why they are one file. Prints what it finds and always succeeds.
set -eu
cd "$(dirname "$0")/.."
code() { git ls-files 'erlang/*.erl' 'include/*.hrl' 'native/*.rs' "$@"; }

wide=$(code 'test/*.erl' | while read -r file; do
    awk 'length($0) > 100 { n++ } END { if (n) printf "  %s: %d\n", FILENAME, n }' "$file"
done)
long=$(code | grep -v '/tests\.rs$' | while read -r file; do
    awk '/^#\[cfg\(test\)\]/ { exit } { n++ }
         NR <= 20 && /^ *(%|\/\/).*(one file|lines)/ { said = 1 }
         END { if (n > 400 && !said) printf "  %s: %d\n", FILENAME, n }' "$file"
done)
[ -z "$wide" ] || printf 'lines over 100 columns, by file:\n%s\n' "$wide"
[ -z "$long" ] || printf 'files over 400 lines that give no reason at their top:\n%s\n' "$long"
