"""Writing what a run leaves for people: `report.html` and `README.md`."""

from __future__ import annotations

from tokenmill.io.runfolder import RunFolder, disk_error
from tokenmill.report.card import write_card
from tokenmill.report.funnel import Funnel, fold
from tokenmill.report.html import render
from tokenmill.report.page_data import page_data_of
from tokenmill.report.survey_files import FileChoice


def write_report(folder: RunFolder) -> Funnel:
    """Write both from the manifests, and return the funnel. Works on finished and unfinished runs."""
    try:
        choice = FileChoice()
        funnel = fold(folder, choice.add)
        folder.write_text("report.html", render(page_data_of(folder, funnel, choice)))
        write_card(folder, funnel)
    except OSError as error:
        raise disk_error(error, str(error.filename or folder.location)) from error
    return funnel
