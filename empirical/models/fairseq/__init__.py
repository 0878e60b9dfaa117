"""An original fairseq checkpoint -> a folder that transformers loads.

Nothing in a checkpoint's pickle is run.
"""
