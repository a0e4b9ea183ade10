"""The speed of headwater beside its peers: `python -m bench --help`."""
