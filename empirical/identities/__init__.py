"""Statements of the catalogue, and what they take for granted, on the layers of a real decoder.

There are two paths by which a layer's tensors are captured, on purpose. The metrics of the study
(`empirical.inference`) see queries, keys and values through an attention function of our own and
its recorder; the identities let the model read with its own attention code and ask each block again
with the same arguments (`block_activations`), so that they are a witness who shares no attention
arithmetic with the engine of the study.
"""
