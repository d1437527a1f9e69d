"""Time dive against what people use instead: ``make bench``.

It prints a line a comparison, with its bound where it has one, and in some twenty minutes writes
docs/benchmarks.md, its picture, and the first table into the README. ``--only epochs start-up`` makes parts, and
writes nothing. Exit status 1: a bound is not met.
"""

import argparse
import logging
import sys

from benchmarks import accelerator, scaling
from benchmarks.report import HEAD, PICTURE, table, write
from benchmarks.suites import PARTS, image_data
from dive.runs.logging import silence_lightning

ALL = [*PARTS, "growth", "gpu"]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs", type=int, default=24, help="epochs of each side, after one to warm up (default: 24)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=ALL, default=ALL, help="parts to be made (default: all, and write)"
    )
    arguments = parser.parse_args()
    silence_lightning()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    images = image_data()
    sections: list[str] = []
    unmet = 0
    for part, compare in PARTS.items():
        if part in arguments.only:
            rows, title = [], str(compare.__doc__).rstrip(".")
            print(f"{title}:", flush=True)
            for row in compare(arguments.pairs, images):
                print(row, flush=True)
                rows.append(row.cells)
                unmet += not row.met
            sections.append(f"## {title}\n\n{table(HEAD, rows)}")
    if "growth" in arguments.only:
        grown = scaling.growth(max(2, arguments.pairs // 6))
        sections.append(scaling.section(grown))
        print(sections[-1], flush=True)
    if "gpu" in arguments.only:
        sections.append(accelerator.section(images))
        print(sections[-1], flush=True)
    if arguments.only == ALL:
        scaling.picture(grown, PICTURE)
        write(sections)
    sys.exit(f"{unmet} bounds are not met" if unmet else 0)


if __name__ == "__main__":
    main()
