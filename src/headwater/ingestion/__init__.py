"""An event, top to bottom: source, deserialize, validate, deduplicate, partition writer, archive;
and how a view begins with the past.
"""
