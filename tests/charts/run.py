"""Runs the tests of the charts and closes as cargo does, so that scripts/test.sh can count them.

    run.py [PATTERN…]      only tests whose names contain a pattern
"""

import pathlib
import sys
import time
import unittest


def flattened(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flattened(test)
        else:
            yield test


def main():
    here = pathlib.Path(__file__).parent
    sys.path.insert(0, str(here))
    tests = list(flattened(unittest.defaultTestLoader.discover(str(here))))
    wanted = [test for test in tests
              if not sys.argv[1:] or any(pattern in test.id() for pattern in sys.argv[1:])]
    started = time.monotonic()
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(unittest.TestSuite(wanted))
    # A test may fail in several of its cases; it is one test all the same. One that breaks before its
    # class is ready counts too.
    broken = {str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors}
    skipped = len(result.skipped)
    passed = max(result.testsRun - len(broken) - skipped, 0)
    word = "FAILED" if broken else "ok"
    print(f"test result: {word}. {passed} passed; {len(broken)} failed; {skipped} ignored; "
          f"0 measured; {len(tests) - len(wanted)} filtered out; "
          f"finished in {time.monotonic() - started:.2f}s")
    # Nothing that ran is no success: a pattern or a folder is wrong.
    return 1 if broken or not (passed or skipped) else 0


if __name__ == "__main__":
    sys.exit(main())
