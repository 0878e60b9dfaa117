"""Statements of the catalogue, and what they take for granted, on the layers of a real decoder.

A layer's tensors are captured in two ways, on purpose. For the metrics of the study, models run
with an attention function of our own, whose recorder (`empirical.inference`) sees queries, keys and
values. For the identities the model reads with its own attention code, and each block is then asked
again with the same arguments (`block_activations`): an independent witness, which shares no
attention arithmetic with the engine of the study.
"""
