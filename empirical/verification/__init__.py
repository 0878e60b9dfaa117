"""The catalogue and the variants -> pages of evidence that are committed under docs.

What comes in is code; what goes out are Markdown and JSON that tests compare.
"""
