"""Other packages' kernels -> what the conformance kit says of each.

Their versions stand in requirements.txt; none of them is a dependency.
"""
