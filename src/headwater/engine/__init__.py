"""What an engine is asked for (`query.py`), the engine of this machine (`local/`), and folders of work that outlive a process."""
