"""Worlds in which the true lift is known, and what each kind of evaluation makes of them."""
