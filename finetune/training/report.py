"""The curve of a run as PNG and as one HTML page that opens without a network.

Owns the drawing. Where the numbers come from is `ledger.py`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STYLE = """body{font:15px/1.6 system-ui,"PingFang SC","Microsoft YaHei",sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem;color:#1d2733;background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{padding:.3rem .6rem;text-align:left;
border-bottom:1px solid #dde3ea;vertical-align:top}th{font-weight:600}img{max-width:100%}.bad{color:#b3261e}
.good{color:#1b6e3c}.note{color:#5a6775}code{font-size:.9em}"""


def page(title: str, body: str) -> str:
    """A whole page; nothing in it is fetched from anywhere."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f"{head}<style>{STYLE}</style><h1>{html.escape(title)}</h1>\n{body}\n</html>\n"


def table(rows: Sequence[Sequence[Any]], header: Sequence[str] = ()) -> str:
    top = (
        "<tr>" + "".join(f"<th>{html.escape(str(cell))}</th>" for cell in header) + "</tr>" if header else ""
    )
    lines = ["<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{top}{''.join(lines)}</table>"


def image(path: Path, text: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'


def plot_curves(history: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """`loss.png` and `learning_rate.png`; none without matplotlib."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return []
    wanted = {
        "loss.png": (("loss", "training loss"), ("eval_loss", "validation loss")),
        "learning_rate.png": (("learning_rate", "learning rate"),),
    }
    written = []
    for name, series in wanted.items():
        figure, axes = plt.subplots(figsize=(7, 3.6), dpi=120)
        for key, label in series:
            points = [(row["step"], row[key]) for row in history if key in row]
            if points:
                axes.plot(
                    *zip(*points, strict=True), label=label, marker="o" if len(points) < 30 else None, ms=3
                )
        axes.set_xlabel("optimizer step")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.tight_layout()
        figure.savefig(folder / name)
        plt.close(figure)
        written.append(folder / name)
    return written


def write_report(folder: Path, run: Mapping[str, Any]) -> Path:
    """`report.html`: curves, figures, settings, data and machine."""
    pictures = plot_curves(run["history"], folder)
    body = "".join(image(path, path.stem.replace("_", " ")) for path in pictures)
    if run.get("demo"):
        body = (
            '<p class="bad">Trained on demonstration records that no person approved: for development only.</p>'
            + body
        )
    facts = [
        (key, run[key])
        for key in ("base", "objective", "method", "steps", "examples", "tokens", "duration_s")
    ]
    facts += [
        (key, run.get(key)) for key in ("energy_j", "train_loss", "best_eval_loss", "code", "started_at")
    ]
    body += "<h2>Run</h2>" + table([(key, "not read" if value is None else value) for key, value in facts])
    body += "<h2>Settings</h2>" + table(sorted(run["settings"].items()))
    body += "<h2>Data (SHA-256)</h2>" + table(sorted(run["data"].items()))
    body += "<h2>Machine</h2>" + table(list(run["hardware"].items()) + list(run["versions"].items()))
    if run.get("too_long"):
        body += "<h2>Left out as too long</h2>" + table([(place,) for place in run["too_long"]])
    path = folder / "report.html"
    path.write_text(page("Training run", body), encoding="utf-8")
    return path
