"""Names, folders and hub data sets -> rows of tasks, demonstrations and prompts as token ids.

What goes out are frozen values; no torch is loaded.
"""
