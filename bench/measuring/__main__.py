# SPDX-License-Identifier: Apache-2.0
"""The command line: `bench/run [NAME...] [--repeat N]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from laboratory import start_engine

from measuring import numbers, results
from measuring.lab import MeasureError
from measuring.measures import MEASURES

USUAL = [name for name in MEASURES if name not in ("build", "machines")]


def main() -> int:
    """Measure, store, tell."""
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measure what docs/numbers.md says, on clusters of its own, and rewrite that page.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:11} {measure.__doc__}" for name, measure in MEASURES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure, see below ({' '.join(USUAL)})")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="how often (%(default)s)")
    options = parser.parse_args()
    unknown = set(options.names) - set(MEASURES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(MEASURES)}")
    if warning := results.busy():
        print(f"bench/run: {warning}", file=sys.stderr)
    for name in options.names or USUAL:
        began = time.monotonic()
        try:
            start_engine()
            result = MEASURES[name](options.repeat)
        except (MeasureError, AssertionError) as error:  # of the laboratory, where the engine does not start
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        path = results.store(name, result)
        print(f"== {name}: measured in {time.monotonic() - began:.0f} s, stored in {path}")
        tell(result)
    numbers.write(results.latest())
    return 0


def tell(result: dict[str, Any], indent: str = "") -> None:
    """Print a result as lines."""
    for key, value in result.items():
        if isinstance(value, dict) and "median" in value:
            print(f"{indent}{key:12} {value['median']} ({value['min']} to {value['max']})")
        elif isinstance(value, dict):
            print(f"{indent}{key}")
            tell(value, indent + "  ")
        else:
            print(f"{indent}{json.dumps(value) if isinstance(value, list) else value:>8}  {key}")


if __name__ == "__main__":
    sys.exit(main())
