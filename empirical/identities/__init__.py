"""A decoder and the tokens it reads -> every identity on every layer and head, with its bound.

What goes out are values of `empirical.results.layer_check`; nothing is judged here.
"""
