"""Blocks of a page -> one HTML file without scripts, and its figures as SVG and PDF.

The template and the style lie beside the code.
"""
