"""The numeric library: identities on torch tensors under derived rounding bounds."""
