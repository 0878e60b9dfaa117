"""A loaded model and prompts -> what it predicts and attends to, zero-shot, in context or tuned.

Hooks and weights are as before when a function returns.
"""
