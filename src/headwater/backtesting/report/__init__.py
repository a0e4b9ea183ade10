"""The renderings of a backtest: a result in, text out."""

from headwater.backtesting.report.brief import to_text
from headwater.backtesting.report.notebook import to_notebook
from headwater.backtesting.report.page import to_html
from headwater.backtesting.report.payload import to_json
from headwater.backtesting.report.table import to_table

__all__ = ["to_html", "to_json", "to_notebook", "to_table", "to_text"]
