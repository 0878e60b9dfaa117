"""The files of a results folder -> frozen values, and back.

What goes out is checked key by key; no torch is loaded.
"""
