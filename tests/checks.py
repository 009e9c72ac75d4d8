"""Checks that end a script when they fail, and a closing line like cargo's, which scripts/test.sh adds up."""

import sys

passed = ignored = 0


def check(what, truth):
    global passed
    if not truth:
        sys.exit(f"FAILED: {what}")
    passed += 1


def leave_out(count):
    """So many checks cannot be made here."""
    global ignored
    ignored += count


def result():
    return f"test result: ok. {passed} passed; 0 failed; {ignored} ignored"
