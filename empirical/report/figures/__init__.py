"""Tables and records -> matplotlib figures that are the same for the same values.

Shapes and words carry the meaning, colours never alone.
"""
