"""Every identity stated once, proved symbolically, and printed as LaTeX and as Coq lemmas."""
