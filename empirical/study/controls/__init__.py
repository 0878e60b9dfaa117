"""A cell and the name of a control -> the same measurements under that control.

What goes out are values of `empirical.results.control_results`.
"""
