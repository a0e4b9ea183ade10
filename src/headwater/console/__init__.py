"""The web console: pages about a project, rendered on the server. A page is a function in a file
here, a template, and a row of `PAGES`.
"""
