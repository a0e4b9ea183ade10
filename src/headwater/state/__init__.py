"""What a store keeps of a view: partial states, tiles, their bytes, and the compiled reads of them."""
