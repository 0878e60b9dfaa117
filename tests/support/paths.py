"""Where the checkout lies, for tests that read its pages and committed results."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
