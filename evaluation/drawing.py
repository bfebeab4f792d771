"""How every picture looks: fonts, colours, panels, and inline SVG or PNG at the end."""

import io
import re
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from PIL import Image

WIDE_IN: Final = 9.2
NARROW_IN: Final = 4.0  # a phone: panels stand below each other

INK: Final = "#26313b"  # in SVG it becomes the page's own text colour
# Middle tones: 3:1 or more against white and against the page's dark background.
COLOURS: Final = ("#3a86c8", "#d1741f", "#2f9468", "#c2528f", "#8b6fd0", "#a58413", "#d2524f", "#3594a5")
PNG_DPI: Final = 150
PNG_COLOURS: Final = 128
LONGEST_NAME: Final = 22
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gridpilot",
    "text.parse_math": False,  # a policy may be called a$b$
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "date.converter": "concise",
}


@mpl.rc_context(STYLE)
def svg(figure: Figure, name: str, description: str) -> str:
    """Inline SVG: transparent, in the page's text colour, as wide as its container; the page sets the font.

    Args:
        figure: A figure of this module.
        name: Prefix of its ids, unique on the page; letters, digits and hyphens.
        description: What a screen reader says; plain text without quotes or markup.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    opening = f'<svg {box.group() if box else ""} role="img" aria-label="{description}">'
    text = re.sub(r"<svg[^>]*>", opening, text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    return text.replace(INK, "currentColor")


@mpl.rc_context(STYLE)
def png(figure: Figure, file: Path) -> None:
    """Write a picture on white; a palette keeps it small."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, facecolor="white")
    Image.open(buffer).convert("RGB").quantize(PNG_COLOURS).save(file, optimize=True)


def panels(count: int, width_in: float, height_in: float, stacked: bool = False) -> tuple[Figure, list[Axes]]:
    """Panels of one height, side by side where there is room unless they are to be stacked."""
    columns = 1 if stacked or width_in <= NARROW_IN else count
    rows = count // columns
    figure = Figure(figsize=(width_in, rows * height_in), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def legend(figure: Figure, handles: list[Any], width_in: float) -> None:
    """One legend above all panels."""
    columns = min(len(handles), 8 if width_in > NARROW_IN else 3)
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, columnspacing=1.2, handlelength=1.4)


def money(axis: Axis, ticks: int = 5) -> None:
    """Few ticks, thousands separated."""
    axis.set_major_locator(MaxNLocator(ticks))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def utc(times: pd.Index) -> Any:
    """Timestamps as the array of UTC times that matplotlib takes."""
    return pd.DatetimeIndex(times).tz_localize(None).to_numpy()


def short(name: str) -> str:
    """A name that leaves room for the picture."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
