"""A request -> records, checks and control results in a folder, one file a cell.

A run that is stopped goes on from what the folder holds.
"""
