"""Statements and variants -> gap over bound on millions of drawn cases.

A run goes on from the cells that its folder holds.
"""
