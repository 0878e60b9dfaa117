"""Statements as lemmas of Coq with MathComp's matrices, checked by its kernel.

`check.formal_check` writes the lemmas and has `coqc` check them; `coq` prints a tree, `lemmas` a
statement with its gradients and recurrences, `refutations` what is false at concrete numbers.
"""
