"""Benchmark dive against its alternatives: ``make bench``.

Without ``--only``, it takes about twenty minutes and writes docs/benchmarks.md, its figure, and the tables that
other pages show. With ``--only epochs start-up``, it prints the results of these parts and writes nothing.
The exit status is 1 if a ratio exceeds its bound.
"""

import argparse
import logging
import sys

from benchmarks import accelerator, scaling
from benchmarks.report import FIGURE, HEADER, markdown_table, write_report
from benchmarks.suites import SUITES, image_data_overrides
from dive.runs.logging import silence_lightning

ALL = [*SUITES, "growth", "gpu"]


def main() -> None:
    """Run the benchmarks, print the results and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=int, default=24, help="timed epochs per side, after one warm-up epoch (default: 24)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=ALL, default=ALL, help="run only these parts (default: all, and write)"
    )
    arguments = parser.parse_args()
    silence_lightning()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    images = image_data_overrides()
    sections: list[str] = []
    exceeded = 0
    for name, suite in SUITES.items():
        if name in arguments.only:
            rows, title = [], str(suite.__doc__).rstrip(".")
            print(f"{title}:", flush=True)
            for row in suite(arguments.pairs, images):
                print(row, flush=True)
                rows.append(row.cells)
                exceeded += not row.met
            sections.append(f"## {title}\n\n{markdown_table(HEADER, rows)}")
    if "growth" in arguments.only:
        timings = scaling.measure(max(2, arguments.pairs // 6))
        sections.append(scaling.section(timings))
        print(sections[-1], flush=True)
    if "gpu" in arguments.only:
        sections.append(accelerator.section(images))
        print(sections[-1], flush=True)
    if arguments.only == ALL:
        scaling.plot(timings, FIGURE)
        write_report(sections)
    sys.exit(f"{exceeded} bounds are not met" if exceeded else 0)


if __name__ == "__main__":
    main()
