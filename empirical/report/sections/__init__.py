"""Results and their analysis -> the sections of the page, as blocks of text, tables and figures.

A section that has nothing to say is left out.
"""
