"""Records -> tables as Markdown, CSV, LaTeX and for the terminal.

The same records give the same bytes.
"""
