"""Engines: queries (`query.py`), the engine of this machine (`local/`), and folders of work that
outlive a process.
"""
