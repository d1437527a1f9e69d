"""The report as one page of HTML that needs nothing beside it."""

import base64
import io
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from dive.sweeps import plots
from dive.sweeps.results_table import SweepTable, to_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { background: #f4f4f4; position: sticky; top: 0; }
tr.failed td, tr.killed td { background: #fdecea; }
tr.missing td, tr.interrupted td, tr.running td { background: #fff7e0; }
pre { background: #f4f4f4; padding: .6rem; white-space: pre-wrap; }
img { max-width: 100%; }
.wide { overflow-x: auto; }
"""


def render_html(table: SweepTable) -> str:
    """The whole page; everything that comes from jobs is escaped."""
    parts = [f"<h1>Sweep {escape(table.directory.name)}</h1>", f"<p>{escape(table.summary())}</p>"]
    if table.best is not None:
        parts.append(f"<p>Best {escape(str(table.monitor))}: <b>{table.best['score']:.4g}</b></p>")
        parts.append(_code(table.best["command"]))
    for title, figure in (("Learning curves", plots.plot_curves(table)), ("Scores", plots.plot_scores(table))):
        if figure is not None:
            parts.append(f"<h2>{title}</h2>{_image(figure, title)}")
    if len(table.finished):
        parts.append(f"<h2>Over seeds</h2>{_table(table.mean_over_seeds())}")
    parts.append(f"<h2>Jobs</h2>{_table(table.summary_columns())}")
    if len(table.failed):
        parts.append(f"<h2>To repeat a failed job</h2>{_code(table.failed.iloc[0]['command'])}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Sweep {escape(table.directory.name)}'
        f"</title><style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _code(command: str) -> str:
    return f"<pre>{escape(command)}</pre>"


def _image(figure: Figure, title: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(column))}</th>" for column in frame.columns)
    cells = to_text(frame).to_numpy().tolist()
    status = frame["status"] if "status" in frame else [""] * len(frame)
    rows = [
        f'<tr class="{escape(str(kind))}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for kind, row in zip(status, cells, strict=True)
    ]
    return f'<div class="wide"><table><tr>{head}</tr>\n' + "\n".join(rows) + "</table></div>"
