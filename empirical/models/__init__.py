"""A name, a folder or a hub id -> a loaded decoder with its tokenizer, alike for every kind.

The weights of the embedded model lie here too.
"""
