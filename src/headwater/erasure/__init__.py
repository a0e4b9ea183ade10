"""Erasing one entity from everything that headwater stores, with a receipt."""
