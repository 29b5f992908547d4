"""Writing what a run leaves for people: `report.html` and `README.md`."""

from __future__ import annotations

from tokenmill.io.runfolder import RunFolder, disk_error
from tokenmill.report.card import render_card
from tokenmill.report.duplicates import duplicates
from tokenmill.report.funnel import Funnel, fold
from tokenmill.report.html import render
from tokenmill.report.rephrased import rephrased
from tokenmill.report.samples import collect_samples


def write_report(folder: RunFolder) -> Funnel:
    """Write both from the manifests, and return the funnel. Works on finished and unfinished runs."""
    try:
        funnel = fold(folder)
        folder.write_text("report.html", render(funnel, collect_samples(folder), duplicates(folder), rephrased(folder)))
        folder.write_text("README.md", render_card(funnel))
    except OSError as error:
        raise disk_error(error, str(error.filename or folder.location)) from error
    return funnel
