#!/usr/bin/env bash
# Runs the tests on the CPU.
#
#   bash launch/test.sh                    all tests
#   bash launch/test.sh --fast             without tests that take long or start
#                                          a process: a fifth of the time
#   bash launch/test.sh tests/models -x    some tests; arguments go to pytest
#   bash launch/test.sh -n 2 --cov         all tests, with coverage; takes 1.5
#                                          times as long
#
# Sets up .venv. Needs Python >= 3.11 (set PYTHON=/path/to/python to choose one)
# and, the first time, a network. Paths are relative to the root of the
# repository.

set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"

setup_venv "$TEST_EXTRAS"
cd "$ROOT"
part=()
if [[ "${1:-}" == --fast ]]; then
  part=(-m 'not process and not slow')
  shift
fi
if (($# == 0)); then
  # Compiling takes most of the time, and uses one core: run two processes.
  set -- -n 2 --dist=loadfile --no-loadscope-reorder
fi
exec "$VENV_PYTHON" -m pytest ${part[@]+"${part[@]}"} "$@"
