"""The forms of a backtest's page."""

from headwater.backtesting.backtest import Backtest
from headwater.pages import page_forms


def to_html(result):
    return page_forms.to_html(Backtest(result).page())


def to_notebook(result):
    return Backtest(result)._repr_html_()


def to_markdown(result):
    return Backtest(result).to_markdown()


def to_table(result):
    return Backtest(result).table()


def to_screen(result):
    return page_forms.to_terminal(Backtest(result).page())


def to_text(result):
    return repr(Backtest(result))
