"""The stored state of views: partial states, tiles, their bytes, and the compiled reads of them."""
