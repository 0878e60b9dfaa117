"""Generated episodes, or books and rows -> the weights of the package's own small models.

Every module is a command of its own; the same seed gives the same bytes on the same machine.
"""
