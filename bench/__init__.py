"""The speed of headwater compared with its peers: `python -m bench --help`."""
