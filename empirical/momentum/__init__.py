"""Momentum attention (Dai et al. 2212.10559, section 5), its relatives and its controls."""
