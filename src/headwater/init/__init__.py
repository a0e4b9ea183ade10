"""A first project file from two tables: profiles of their columns, guesses, and the text of the
file.
"""
