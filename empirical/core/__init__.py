"""What every package stands on: errors, undefined values, JSON files, progress, provenance.

It knows nothing of models, tasks or results, and loads no torch.
"""
