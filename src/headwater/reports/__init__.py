"""Renderings of a backtest result: HTML, notebook, terminal and plain text."""

from headwater.reports.backtest_page import to_html
from headwater.reports.brief import to_text
from headwater.reports.notebook import to_notebook
from headwater.reports.result_table import to_table

__all__ = ["to_html", "to_notebook", "to_table", "to_text"]
