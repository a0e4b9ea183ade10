"""Figures that tests measure, shown at the end of a run."""

PREFIX = "figure: "


def figure(text):
    """Show what a test has measured."""
    print(f"{PREFIX}{text}")
