"""The report of a sweep as one self-contained HTML page."""

import base64
import io
from html import escape

import pandas as pd

from dive.sweeps.plots import plot_curves, plot_scores
from dive.sweeps.results_table import DATA_CHANGED, SweepTable, format_cell

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { background: #f4f4f4; position: sticky; top: 0; }
tr.failed td, tr.killed td, tr.damaged td { background: #fdecea; }
tr.not-started td, tr.interrupted td, tr.running td { background: #fff7e0; }
pre { background: #f4f4f4; padding: .6rem; white-space: pre-wrap; }
img { max-width: 100%; }
.wide { overflow-x: auto; }
"""


def render_html(table: SweepTable) -> str:
    """Render the page; all text that comes from jobs is escaped."""
    title = f"Sweep {escape(table.directory.name)}"
    parts = [f"<h1>{title}</h1>", f"<p>{escape(table.summary())}</p>"]
    if table.data_changed:
        parts.append(f"<p><b>Warning:</b> {DATA_CHANGED}</p>")
    if table.best is not None:
        parts.append(f"<p>Best {escape(str(table.monitor))}: <b>{table.best['score']:.4g}</b></p>")
        parts.append(f"<pre>{escape(table.best['command'])}</pre>")
    for heading, figure in (("Learning curves", plot_curves(table)), ("Scores", plot_scores(table))):
        if figure is not None:
            figure.savefig(png := io.BytesIO(), format="png", dpi=110)
            source = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
            parts.append(f'<h2>{heading}</h2><img alt="{heading}" src="{source}">')
    if len(table.finished):
        parts.append(f"<h2>Mean over seeds</h2>{_table(table.mean_over_seeds())}")
    parts.append(f"<h2>Jobs</h2>{_table(table.summary_columns())}")
    if len(table.failed):
        parts.append(f"<h2>Rerun a failed job</h2><pre>{escape(table.failed.iloc[0]['command'])}</pre>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(column))}</th>" for column in frame.columns)
    statuses = frame["status"] if "status" in frame else [""] * len(frame)
    rows = [f"<tr>{head}</tr>"]
    for status, row in zip(statuses, frame.map(format_cell).to_numpy().tolist(), strict=True):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        rows.append(f'<tr class="{escape(status.replace(" ", "-"))}">{cells}</tr>')
    return '<div class="wide"><table>' + "\n".join(rows) + "</table></div>"
