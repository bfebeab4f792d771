"""A page as PDF, printed by the Chromium or Chrome of this machine."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
QUIET: Final = ("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--no-pdf-header-footer")  # fmt: skip
LIMIT_S: Final = 300.0


def write_pdf(page: Path) -> Path:
    """Print a page beside itself.

    Args:
        page: An HTML file.

    Returns:
        The PDF.

    Raises:
        FileNotFoundError: There is no browser.
        RuntimeError: The browser printed nothing.
    """
    named = os.environ.get("BROWSER_PATH")
    browser = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None or shutil.which(browser) is None:
        raise FileNotFoundError(
            f"no browser to print {page.name} with: {named or ', '.join(BROWSERS)} is not here; install Chromium, "
            "set BROWSER_PATH to one, or leave out pdf=true"
        )
    file = page.with_suffix(".pdf")
    file.unlink(missing_ok=True)
    # Chromium refuses its sandbox to root; the page is our own and loads nothing.
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [browser, *QUIET, *sandbox, f"--print-to-pdf={file.resolve()}", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if not file.is_file():
        raise RuntimeError(f"{browser} printed no {file.name} (exit {done.returncode}): {done.stderr.strip()[-300:]}")
    return file
